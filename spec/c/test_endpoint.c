/* What becomes of a socket's files while somebody has them: removed, replaced, taken. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/endpoint.h"
#include "base/log.h"
#include "base/report.h"
#include "base/safe_file.h"

typedef struct place {
    char dir[64], run[80], path[96], lock[104], log[96], kept[96];
    dirty_endpoint e;
} place;

static dirty_endpoint_options at(const place *p) {
    return (dirty_endpoint_options){
        .path = p->path, .mode = 0640, .uid = -1, .gid = -1, .backlog = 8};
}

static int make_place(void **state) {
    place *p = calloc(1, sizeof *p);
    snprintf(p->dir, sizeof p->dir, "/tmp/dirty-end-XXXXXX");
    if (mkdtemp(p->dir) == NULL)
        return -1;
    snprintf(p->run, sizeof p->run, "%s/run", p->dir);
    snprintf(p->path, sizeof p->path, "%s/s", p->run);
    snprintf(p->lock, sizeof p->lock, "%s/s.lock", p->run);
    snprintf(p->kept, sizeof p->kept, "%s/kept", p->dir);
    snprintf(p->log, sizeof p->log, "%s/log", p->dir);
    if (mkdir(p->run, 0755) < 0 || dirty_log_open(p->log, DIRTY_LOG_INFO) < 0)
        return -1;
    dirty_endpoint_options o = at(p);
    *state = p;
    return dirty_endpoint_open(&p->e, &o);
}

static int remove_place(void **state) {
    place *p = *state;
    char command[128];
    dirty_endpoint_close(&p->e);
    dirty_log_open(NULL, DIRTY_LOG_INFO);
    snprintf(command, sizeof command, "rm -rf '%s'", p->dir);
    int rc = system(command);
    free(p);
    return rc;
}

static unsigned times_logged(const place *p, const char *part) {
    static char text[65536];
    unsigned count = 0;
    FILE *f = fopen(p->log, "r");
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    for (const char *t = text; (t = strstr(t, part)) != NULL; t++)
        count++;
    return count;
}

/* Who listens there accepts it: 0, or -errno. */
static int reaches(const char *path, int listener) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), accepted;
    while ((accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
        close(accepted); /* who has only tried whether somebody listens */
    int rc = connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
    accepted = rc == 0 ? accept4(listener, NULL, NULL, SOCK_NONBLOCK) : -1;
    if (rc == 0 && accepted < 0)
        rc = -ENOTCONN;
    if (accepted >= 0)
        close(accepted);
    close(fd);
    return rc;
}

/* Somebody else, who does not care for locks. */
static int listen_at(const char *path, int backlog) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static void look_and_stay(place *p) {
    int former = -7;
    assert_false(dirty_endpoint_look(&p->e, &former));
    assert_int_equal(former, -7);
}

static void look_and_change(place *p) {
    int former = -7, before = p->e.fd;
    assert_true(dirty_endpoint_look(&p->e, &former));
    assert_int_equal(former, before);
    assert_int_not_equal(p->e.fd, before);
    close(former);
}

static void nothing_happens_while_all_is_well(void **state) {
    place *p = *state;
    for (int i = 0; i < 3; i++)
        look_and_stay(p);
    assert_string_equal(p->e.trouble, "");
    assert_int_equal(times_logged(p, "level="), 0);
}

static void a_socket_that_was_removed_is_bound_again(void **state) {
    place *p = *state;
    struct stat st;
    assert_int_equal(unlink(p->path), 0);
    look_and_change(p);
    assert_int_equal(reaches(p->path, p->e.fd), 0);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_true(fcntl(p->e.fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(p->e.fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(times_logged(p, "bound it again"), 1);
    look_and_stay(p);
    dirty_endpoint_close(&p->e);
    assert_int_equal(access(p->path, F_OK), -1);
    assert_int_equal(access(p->lock, F_OK), -1);
}

static void a_directory_that_was_removed_is_waited_for(void **state) {
    place *p = *state;
    assert_int_equal(unlink(p->path), 0);
    assert_int_equal(unlink(p->lock), 0);
    assert_int_equal(rmdir(p->run), 0);
    for (int i = 0; i < 3; i++)
        look_and_stay(p);
    assert_non_null(strstr(p->e.trouble, "No such file or directory"));
    assert_int_equal(times_logged(p, "something is wrong with the socket's files"), 1);
    assert_int_equal(mkdir(p->run, 0755), 0);
    look_and_change(p);
    assert_int_equal(reaches(p->path, p->e.fd), 0);
    assert_string_equal(p->e.trouble, "");
    assert_int_equal(times_logged(p, "are in order again"), 1);
    assert_int_equal(flock(p->e.lock_fd, LOCK_EX | LOCK_NB), 0);
}

static void a_lock_that_was_removed_or_replaced_is_taken_again(void **state) {
    place *p = *state;
    dirty_endpoint second;
    dirty_endpoint_options o = at(p);
    assert_int_equal(unlink(p->lock), 0);
    look_and_stay(p);
    close(creat(p->kept, 0600));
    assert_int_equal(rename(p->kept, p->lock), 0);
    look_and_stay(p);
    assert_string_equal(p->e.trouble, "");
    assert_int_equal(times_logged(p, "took it again"), 2);
    assert_int_equal(dirty_endpoint_open(&second, &o), -EADDRINUSE);
    assert_int_equal(reaches(p->path, p->e.fd), 0);
}

/* In a directory of our own, too: what it leads to is another's lock, or nothing yet. */
static void a_lock_that_is_a_link_is_named(void **state) {
    place *p = *state;
    dirty_endpoint second;
    dirty_endpoint_options o = at(p);
    dirty_endpoint_close(&p->e);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(symlink(p->kept, p->lock), 0);
        assert_int_equal(dirty_endpoint_open(&second, &o), -DIRTY_SAFE_LINK);
        assert_int_equal(access(p->kept, F_OK), i == 0 ? -1 : 0); /* it is not made */
        assert_int_equal(unlink(p->lock), 0);
        close(open(p->kept, O_CREAT | O_RDWR, 0600));
    }
    char remedy[160];
    snprintf(remedy, sizeof remedy, "remove the file %s", p->lock);
    assert_int_equal(times_logged(p, "reason=\"it is a link"), 2);
    assert_int_equal(times_logged(p, remedy), 2);
    assert_int_equal(dirty_endpoint_open(&p->e, &o), 0);
}

/* A second start between two looks: the lock is free, but somebody listens. */
static void without_the_lock_who_listens_is_not_replaced(void **state) {
    place *p = *state;
    dirty_endpoint second;
    dirty_endpoint_options o = at(p);
    assert_int_equal(unlink(p->lock), 0);
    assert_int_equal(dirty_endpoint_open(&second, &o), -EADDRINUSE);
    assert_int_equal(access(p->lock, F_OK), -1); /* it leaves nothing behind */
    assert_int_equal(reaches(p->path, p->e.fd), 0);
    look_and_stay(p);
    assert_int_equal(access(p->lock, F_OK), 0);
    /* nor one whose backlog is full, or that is of another kind */
    dirty_endpoint_close(&p->e);
    int other = listen_at(p->path, 0), full[4];
    for (int i = 0; i < 4; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof address.sun_path, "%s", p->path);
        full[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(full[i], (struct sockaddr *)&address, sizeof address);
    }
    assert_int_equal(dirty_endpoint_open(&second, &o), -EADDRINUSE);
    assert_int_equal(access(p->path, F_OK), 0);
    for (int i = 0; i < 4; i++)
        close(full[i]);
    close(other);
    /* one that nobody listens at any more is */
    assert_int_equal(dirty_endpoint_open(&p->e, &o), 0);
}

/* As after a kill: the lock is free at once, the last process ends a moment later. */
static void a_start_waits_for_the_last_of_a_killed_runtime(void **state) {
    place *p = *state;
    dirty_endpoint second;
    dirty_endpoint_options o = at(p);
    dirty_endpoint_disown(&p->e);
    pid_t child = fork();
    if (child == 0) {
        usleep(200000);
        _exit(0);
    }
    close(p->e.fd);
    p->e.fd = -1;
    uint64_t began_ns = dirty_now_ns();
    assert_int_equal(dirty_endpoint_open(&second, &o), 0);
    assert_true(dirty_now_ns() - began_ns > 100 * DIRTY_NS_PER_MS);
    waitpid(child, NULL, 0);
    assert_int_equal(reaches(p->path, second.fd), 0);
    dirty_endpoint_close(&second);
}

static void what_another_has_put_there_stays(void **state) {
    place *p = *state;
    assert_int_equal(unlink(p->path), 0);
    int other = listen_at(p->path, 8);
    for (int i = 0; i < 12; i++) /* it is tried now and then */
        look_and_stay(p);
    assert_non_null(strstr(p->e.trouble, "another file is at its path"));
    assert_int_equal(times_logged(p, "something is wrong"), 1);
    dirty_endpoint copy = p->e;
    dirty_endpoint_unlink(&copy); /* what the end does */
    assert_int_equal(reaches(p->path, other), 0);
    assert_int_equal(access(p->lock, F_OK), -1);
    close(other);
    assert_int_equal(unlink(p->path), 0);
    look_and_change(p);
    assert_int_equal(reaches(p->path, p->e.fd), 0);
    assert_int_equal(unlink(p->path), 0);
    close(creat(p->path, 0600)); /* no socket at all */
    for (int i = 0; i < 12; i++)
        look_and_stay(p);
    dirty_endpoint_close(&p->e);
    assert_int_equal(access(p->path, F_OK), 0);
}

static void a_socket_that_another_has_left_is_replaced(void **state) {
    place *p = *state;
    int former = -1;
    assert_int_equal(unlink(p->path), 0);
    close(listen_at(p->path, 8));
    look_and_stay(p); /* it may only be bound by now */
    for (int i = 0; i < 8 && former < 0; i++)
        dirty_endpoint_look(&p->e, &former);
    assert_true(former >= 0);
    close(former);
    assert_int_equal(reaches(p->path, p->e.fd), 0);
}

/* Both files were removed, and another runtime was quicker. */
static void another_runtimes_files_stay(void **state) {
    place *p = *state;
    dirty_endpoint second;
    dirty_endpoint_options o = at(p);
    assert_int_equal(unlink(p->path), 0);
    assert_int_equal(unlink(p->lock), 0);
    assert_int_equal(dirty_endpoint_open(&second, &o), 0);
    for (int i = 0; i < 8; i++)
        look_and_stay(p);
    assert_non_null(strstr(p->e.trouble, "another runtime has taken its path"));
    int former;
    assert_false(dirty_endpoint_look(&second, &former));
    assert_string_equal(second.trouble, "");
    dirty_endpoint copy = p->e;
    dirty_endpoint_unlink(&copy);
    assert_int_equal(reaches(p->path, second.fd), 0);
    assert_int_equal(access(p->lock, F_OK), 0);
    dirty_endpoint_close(&second);
    look_and_change(p); /* it has ended: the path is ours again */
    assert_int_equal(reaches(p->path, p->e.fd), 0);
}

/* The lock alone is another's: it has to see that somebody listens. */
static void a_lock_that_another_holds_is_told(void **state) {
    place *p = *state;
    assert_int_equal(unlink(p->lock), 0);
    int other = open(p->lock, O_CREAT | O_RDWR, 0600);
    assert_int_equal(flock(other, LOCK_EX), 0);
    look_and_stay(p);
    assert_non_null(strstr(p->e.trouble, "another runtime has taken the lock"));
    assert_int_equal(unlink(p->path), 0);
    look_and_stay(p); /* without the lock nothing is bound */
    assert_int_equal(access(p->path, F_OK), -1);
    close(other);
    look_and_change(p);
    assert_string_equal(p->e.trouble, "");
}

static void what_was_given_up_is_not_made_again(void **state) {
    place *p = *state;
    dirty_endpoint_unlink(&p->e);
    look_and_stay(p);
    assert_int_equal(access(p->path, F_OK), -1);
    assert_int_equal(access(p->lock, F_OK), -1);
    dirty_endpoint_close(&p->e);
    look_and_stay(p);
}

/* Descriptors come with a report, and none where none are expected. */
static void a_report_can_carry_descriptors(void **state) {
    place *p = *state;
    int pair[2], got[DIRTY_REPORT_PASSED];
    const int passed[] = {p->e.fd, p->e.file_fd};
    dirty_report r = {.kind = DIRTY_REPORT_SOCKET, .within_ms = 1, .text = "why"};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(dirty_report_take_with(pair[1], &r, got), 0);
    assert_int_equal(dirty_report_send_with(pair[0], &r, passed, 2), 0);
    assert_int_equal(dirty_report_send_with(pair[0], &r, NULL, 0), 0);
    assert_int_equal(dirty_report_send_with(pair[0], &r, passed, 2), 0);
    assert_int_equal(dirty_report_take_with(pair[1], &r, got), 1);
    assert_true(got[0] >= 0 && got[1] >= 0);
    assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
    assert_string_equal(r.text, "why");
    assert_int_equal(reaches(p->path, got[0]), 0);
    close(got[0]);
    close(got[1]);
    assert_int_equal(dirty_report_take_with(pair[1], &r, got), 1);
    assert_int_equal(got[0], -1);
    assert_int_equal(got[1], -1);
    int next = dup(0);
    close(next);
    assert_int_equal(dirty_report_take(pair[1], &r), 1);
    assert_int_equal(dup(0), next); /* it was not taken */
    close(next);
    close(pair[0]);
    assert_int_equal(dirty_report_take_with(pair[1], &r, got), -1);
    close(pair[1]);
}

/* As a reload or somebody by hand has changed it since. */
static void a_socket_is_bound_again_as_it_was_last(void **state) {
    place *p = *state;
    struct stat st;
    assert_int_equal(chmod(p->path, 0606), 0);
    bool root = geteuid() == 0;
    if (root)
        assert_int_equal(chown(p->path, 12, 34), 0);
    assert_int_equal(unlink(p->path), 0);
    look_and_change(p);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0606);
    assert_int_equal(st.st_uid, root ? 12 : geteuid());
    if (root)
        assert_int_equal(st.st_gid, 34);
    struct stat file;
    assert_int_equal(fstat(p->e.file_fd, &file), 0);
    assert_int_equal(file.st_ino, st.st_ino);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nothing_happens_while_all_is_well),
        TEST(a_socket_that_was_removed_is_bound_again),
        TEST(a_directory_that_was_removed_is_waited_for),
        TEST(a_lock_that_was_removed_or_replaced_is_taken_again),
        TEST(a_lock_that_is_a_link_is_named),
        TEST(without_the_lock_who_listens_is_not_replaced),
        TEST(a_start_waits_for_the_last_of_a_killed_runtime),
        TEST(what_another_has_put_there_stays),
        TEST(a_socket_that_another_has_left_is_replaced),
        TEST(another_runtimes_files_stay),
        TEST(a_lock_that_another_holds_is_told),
        TEST(what_was_given_up_is_not_made_again),
        TEST(a_report_can_carry_descriptors),
        TEST(a_socket_is_bound_again_as_it_was_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
