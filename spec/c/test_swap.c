/* Root binds a socket where another user may write, and that user is quick: between the
 * look-up of the path, bind and what follows it they put another directory in the place
 * of theirs. Needs root. */
#include "harness.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/endpoint.h"
#include "base/log.h"
#include "base/pidfile.h"
#include "base/safe_file.h"

#define THEIRS 65534
#define THIRD 65533

/* `theirs` is that user's, and so are `theirs/run`, where the socket is to be, and
 * `theirs/link`, a link to `victim`, where a socket of root's has the same name. */
typedef struct place {
    char dir[32], theirs[48], run[64], link[64], victim[48];
    char path[108], target[108], log[96];
    int victim_fd;
    dirty_endpoint e;
} place;

/* What the calls below do for a test. */
static struct {
    const place *p;
    bool before, after; /* swap before, after bind */
    bool no_lookup;     /* root may not ask the kernel for the file of a socket */
    bool unlinked;      /* … and the socket is removed first */
    unsigned swaps;
} trick;

static void swap(void) {
    const place *p = trick.p;
    if (trick.unlinked)
        unlink(p->path);
    assert_int_equal(renameat2(AT_FDCWD, p->run, AT_FDCWD, p->link, RENAME_EXCHANGE), 0);
    trick.swaps++;
}

int bind(int fd, const struct sockaddr *address, socklen_t len) {
    int (*real)(int, const struct sockaddr *, socklen_t);
    *(void **)&real = dlsym(RTLD_NEXT, "bind");
    if (trick.before)
        swap();
    int rc = real(fd, address, len);
    int saved = errno;
    if (rc == 0 && trick.after)
        swap();
    errno = saved;
    return rc;
}

int ioctl(int fd, unsigned long request, ...) {
    int (*real)(int, unsigned long, void *);
    va_list args;
    va_start(args, request);
    void *arg = va_arg(args, void *);
    va_end(args);
    *(void **)&real = dlsym(RTLD_NEXT, "ioctl");
    if (!trick.no_lookup)
        return real(fd, request, arg);
    errno = EPERM;
    return -1;
}

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(fchmod(fd, 0600), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int make_place(void **state) {
    const gid_t group = THEIRS;
    place *p = calloc(1, sizeof *p);
    p->victim_fd = p->e.fd = p->e.file_fd = p->e.lock_fd = -1;
    *state = p;
    memset(&trick, 0, sizeof trick);
    if (geteuid() != 0)
        return 0;
    snprintf(p->dir, sizeof p->dir, "/tmp/dirty-swap-XXXXXX");
    if (mkdtemp(p->dir) == NULL || chmod(p->dir, 0755) < 0)
        return -1;
    snprintf(p->theirs, sizeof p->theirs, "%s/theirs", p->dir);
    snprintf(p->run, sizeof p->run, "%s/run", p->theirs);
    snprintf(p->link, sizeof p->link, "%s/link", p->theirs);
    snprintf(p->victim, sizeof p->victim, "%s/victim", p->dir);
    snprintf(p->path, sizeof p->path, "%s/s", p->run);
    snprintf(p->target, sizeof p->target, "%s/s", p->victim);
    snprintf(p->log, sizeof p->log, "%s/log", p->dir);
    if (mkdir(p->theirs, 0755) < 0 || mkdir(p->run, 0755) < 0 ||
        mkdir(p->victim, 0755) < 0 || symlink(p->victim, p->link) < 0 ||
        chown(p->theirs, THEIRS, THEIRS) < 0 || chown(p->run, THEIRS, THEIRS) < 0 ||
        lchown(p->link, THEIRS, THEIRS) < 0)
        return -1;
    p->victim_fd = listen_at(p->target);
    trick.p = p;
    dirty_log_open(p->log, DIRTY_LOG_INFO);
    return dirty_safe_user(THEIRS, THEIRS, &group, 1);
}

static int remove_place(void **state) {
    place *p = *state;
    char command[128];
    memset(&trick, 0, sizeof trick);
    dirty_endpoint_close(&p->e);
    dirty_safe_user(0, 0, NULL, 0);
    dirty_log_open(NULL, DIRTY_LOG_INFO);
    snprintf(command, sizeof command, "rm -rf '%s'", p->dir);
    int rc = p->dir[0] != '\0' ? system(command) : 0;
    if (p->victim_fd >= 0)
        close(p->victim_fd);
    free(p);
    return rc;
}

static void need_root(void) {
    if (geteuid() == 0)
        return;
    print_message("SKIPPED: needs root, to have files of other users\n");
    skip();
}

static dirty_endpoint_options at(const place *p) {
    return (dirty_endpoint_options){
        .path = p->path, .mode = 0600, .uid = THIRD, .gid = THIRD, .backlog = 8};
}

static void is_untouched(const place *p) {
    struct stat st;
    assert_int_equal(lstat(p->target, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_gid, 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* What has become of the one that was bound, wherever it is: given away, if it is ours by
 * what we know. */
static void is_ours_if_open(const place *p, int rc) {
    struct stat st;
    if (rc < 0) {
        assert_int_equal(p->e.fd, -1);
        return;
    }
    assert_int_equal(fstat(p->e.file_fd, &st), 0);
    assert_int_equal(st.st_uid, THIRD);
    assert_true(st.st_dev == p->e.dev && st.st_ino == p->e.ino);
}

static void start(place *p) {
    dirty_endpoint_options o = at(p);
    is_ours_if_open(p, dirty_endpoint_open(&p->e, &o));
    assert_int_equal(trick.swaps, 1);
    is_untouched(p);
}

static void a_start_gives_away_what_it_has_bound(void **state) {
    need_root();
    trick.after = true;
    start(*state);
}

static void a_start_without_a_lookup_does_too(void **state) {
    need_root();
    trick.after = trick.no_lookup = true;
    start(*state);
}

static void a_start_whose_directory_is_swapped_before_bind(void **state) {
    need_root();
    trick.before = true;
    start(*state);
}

static void a_start_whose_socket_is_removed_at_once(void **state) {
    need_root();
    trick.after = trick.unlinked = true;
    start(*state);
}

/* Another socket of root's is moved to the name. */
static void another_of_roots_in_the_directory_is_left_alone(void **state) {
    place *p = *state;
    char moved[128];
    need_root();
    trick.no_lookup = true;
    dirty_endpoint_options o = at(p);
    assert_int_equal(dirty_endpoint_open(&p->e, &o), 0);
    is_ours_if_open(p, 0);
    assert_int_equal(unlink(p->path), 0);
    snprintf(moved, sizeof moved, "%s/run", p->victim);
    assert_int_equal(rename(p->run, moved), 0); /* what follows has to bind nowhere */
    assert_int_equal(symlink(p->victim, p->run), 0);
    assert_int_equal(lchown(p->run, THEIRS, THEIRS), 0);
    int former;
    for (int i = 0; i < 8; i++)
        assert_false(dirty_endpoint_look(&p->e, &former));
    is_untouched(p);
}

static void bind_again(place *p) {
    dirty_endpoint_options o = at(p);
    bool before = trick.before, after = trick.after;
    trick.before = trick.after = false;
    assert_int_equal(dirty_endpoint_open(&p->e, &o), 0);
    assert_int_equal(unlink(p->path), 0);
    trick.before = before;
    trick.after = after;
    int former;
    if (dirty_endpoint_look(&p->e, &former))
        close(former);
    is_ours_if_open(p, 0);
    assert_int_equal(trick.swaps, 1);
    is_untouched(p);
}

static void the_same_holds_for_a_socket_that_is_bound_again(void **state) {
    need_root();
    trick.after = true;
    bind_again(*state);
}

static void without_a_lookup_too(void **state) {
    need_root();
    trick.after = trick.no_lookup = true;
    bind_again(*state);
}

static void and_where_it_is_swapped_before_bind(void **state) {
    need_root();
    trick.before = true;
    bind_again(*state);
}

/* A directory of root's in one where everybody may move names: root has to stay in the
 * one that it has found. */
static void in_a_directory_that_all_may_change(void **state) {
    place *p = *state;
    struct stat st;
    need_root();
    assert_int_equal(chown(p->theirs, 0, 0), 0);
    assert_int_equal(chown(p->run, 0, 0), 0);
    assert_int_equal(chmod(p->theirs, 0777), 0);
    assert_int_equal(unlink(p->target), 0); /* nothing is in the way there */
    trick.before = true;
    dirty_endpoint_options o = at(p);
    is_ours_if_open(p, dirty_endpoint_open(&p->e, &o));
    assert_int_equal(trick.swaps, 1);
    assert_int_equal(lstat(p->target, &st), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_start_gives_away_what_it_has_bound),
        TEST(a_start_without_a_lookup_does_too),
        TEST(a_start_whose_directory_is_swapped_before_bind),
        TEST(a_start_whose_socket_is_removed_at_once),
        TEST(another_of_roots_in_the_directory_is_left_alone),
        TEST(the_same_holds_for_a_socket_that_is_bound_again),
        TEST(without_a_lookup_too),
        TEST(and_where_it_is_swapped_before_bind),
        TEST(in_a_directory_that_all_may_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
