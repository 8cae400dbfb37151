/* Files that are opened where others may write. Most of it needs root, to have others. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endpoint.h"
#include "base/log.h"
#include "base/pidfile.h"
#include "base/safe_file.h"
#include "base/trail.h"

#define THEIRS 65534 /* a user that is neither root nor we */
#define THIRD 65533

/* `dir` is ours, and so is what is in it but `theirs`, a directory of that user. */
typedef struct place {
    char dir[64], theirs[96], ours[96], file[160], other[160];
} place;

static int make_place(void **state) {
    place *p = calloc(1, sizeof *p);
    snprintf(p->dir, sizeof p->dir, "/tmp/dirty-safe-XXXXXX");
    if (mkdtemp(p->dir) == NULL || chmod(p->dir, 0755) < 0)
        return -1;
    snprintf(p->theirs, sizeof p->theirs, "%s/theirs", p->dir);
    snprintf(p->ours, sizeof p->ours, "%s/ours", p->dir);
    if (mkdir(p->theirs, 0755) < 0 || mkdir(p->ours, 0755) < 0)
        return -1;
    if (geteuid() == 0 && chown(p->theirs, THEIRS, THEIRS) < 0)
        return -1;
    *state = p;
    return 0;
}

static int remove_place(void **state) {
    place *p = *state;
    char command[128];
    dirty_safe_user(0, 0, NULL, 0);
    dirty_log_open(NULL, DIRTY_LOG_INFO);
    snprintf(command, sizeof command, "rm -rf '%s'", p->dir);
    int rc = system(command);
    free(p);
    return rc;
}

static void need_root(void) {
    if (geteuid() == 0)
        return;
    print_message("SKIPPED: needs root, to have files of other users\n");
    skip();
}

static void set_user(void) {
    const gid_t group = THEIRS;
    assert_int_equal(dirty_safe_user(THEIRS, THEIRS, &group, 1), 0);
}

static const char *in(const char *dir, const char *name, char *room) {
    snprintf(room, 160, "%s/%s", dir, name);
    return room;
}

static void write_file(const char *path, mode_t mode, uid_t owner) {
    int fd = open(path, O_CREAT | O_WRONLY | O_EXCL, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "old\n", 4), 4);
    assert_int_equal(fchmod(fd, mode), 0);
    if (geteuid() == 0)
        assert_int_equal(fchown(fd, owner, owner), 0);
    close(fd);
}

static int open_log(const char *path) {
    return dirty_safe_open(path, O_WRONLY | O_APPEND | O_CREAT, 0640,
                           DIRTY_SAFE_DEVICES | DIRTY_SAFE_GIVE);
}

static void is_opened(const char *path) {
    int fd = open_log(path);
    if (fd < 0)
        print_message("%s: %s\n", path, dirty_safe_reason(fd));
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

static uid_t owner_of(const char *path) {
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_uid;
}

/* -- A path that is ours ---------------------------------------------------------------
 */

static void our_own_path_means_what_it_says(void **state) {
    place *p = *state;
    char link[160], up[200];
    in(p->ours, "log", p->file);
    is_opened(p->file);
    is_opened(p->file);
    assert_int_equal(symlink("ours/../ours/log", in(p->dir, "link", link)), 0);
    is_opened(link);
    assert_int_equal(symlink(link, in(p->ours, "again", p->other)), 0);
    is_opened(p->other);
    snprintf(up, sizeof up, "%s//.././ours/log", p->ours);
    is_opened(up);
    assert_int_equal(symlink("loop", in(p->ours, "loop", p->other)), 0);
    assert_int_equal(open_log(p->other), -ELOOP);
    assert_int_equal(symlink("made", in(p->ours, "dangling", p->other)), 0);
    is_opened(p->other);
    assert_int_equal(access(in(p->ours, "made", link), F_OK), 0);
}

static void what_can_not_be_is_said_as_open_does(void **state) {
    place *p = *state;
    char name[300];
    assert_int_equal(open_log(in(p->dir, "none/log", p->file)), -ENOENT);
    assert_int_equal(open_log(p->ours), -EISDIR);
    assert_int_equal(open_log(in(p->dir, "ours/", p->file)), -EISDIR);
    assert_int_equal(open_log("/"), -EISDIR);
    assert_int_equal(open_log(""), -ENOENT);
    write_file(in(p->ours, "file", p->file), 0600, 0);
    assert_int_equal(open_log(in(p->ours, "file/log", p->other)), -ENOTDIR);
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(open_log(name), -ENAMETOOLONG);
    assert_int_equal(dirty_safe_open(in(p->ours, "absent", p->file), O_RDONLY, 0, 0),
                     -ENOENT);
}

static void our_own_fifo_waits_for_nobody(void **state) {
    place *p = *state;
    char text[8192];
    in(p->ours, "fifo", p->file);
    assert_int_equal(mkfifo(p->file, 0600), 0);
    alarm(20); /* an open that waits ends the test */
    assert_int_equal(dirty_safe_open(p->file, O_WRONLY, 0, 0), -DIRTY_SAFE_KIND);
    assert_int_equal(dirty_log_open(p->file, DIRTY_LOG_INFO), 0);
    for (int i = 0; i < 5000; i++) /* more than it has room for */
        dirty_log(DIRTY_LOG_INFO, "nobody reads", "line=%d", i);
    assert_int_equal(dirty_log_reopen(), 0);
    int reader = open(p->file, O_RDONLY | O_NONBLOCK);
    ssize_t n = read(reader, text, sizeof text);
    assert_true(n > 0 && memcmp(text, "ts=", 3) == 0);
    while (read(reader, text, sizeof text) > 0)
        continue;
    dirty_log(DIRTY_LOG_INFO, "somebody reads", "line=%d", 5000);
    n = read(reader, text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(strstr(text, "somebody reads"));
    assert_non_null(strstr(text, "log lines were lost"));
    close(reader); /* who reads may leave */
    dirty_log(DIRTY_LOG_INFO, "left", "line=%d", 5001);
    assert_int_equal(dirty_log_reopen(), 0);
    alarm(0);
}

static void our_own_devices_are_good_for_a_log_alone(void **state) {
    place *p = *state;
    in(p->ours, "null", p->file);
    assert_int_equal(symlink("/dev/null", p->file), 0);
    is_opened(p->file);
    is_opened("/dev/null");
    assert_int_equal(dirty_safe_open("/dev/null", O_WRONLY, 0, 0), -DIRTY_SAFE_KIND);
}

/* By its name, whatever it is: a socket can't be opened. */
static void our_own_descriptors_are_good_for_a_log_alone(void **state) {
    place *p = *state;
    char path[64];
    int pair[2], kept = dup(2);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_true(dup2(pair[1], 2) == 2);
    int fd = open_log("/dev/stderr");
    dup2(kept, 2);
    close(kept);
    assert_true(fd > 2);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(read(pair[0], path, sizeof path), 1);
    close(fd);
    assert_int_equal(symlink("/dev/stdout", in(p->ours, "log", p->file)), 0);
    is_opened(p->file);
    snprintf(path, sizeof path, "/proc/self/fd/%d", pair[1]);
    is_opened(path);
    assert_int_equal(dirty_safe_open(path, O_WRONLY, 0, 0), -DIRTY_SAFE_KIND);
    close(pair[0]);
    close(pair[1]);
}

/* -- A path that somebody else has a hand in -------------------------------------------
 */

static void a_file_in_their_directory_is_theirs(void **state) {
    place *p = *state;
    need_root();
    in(p->theirs, "log", p->file);
    set_user();
    is_opened(p->file);
    assert_int_equal(owner_of(p->file), THEIRS);
    is_opened(p->file);
    /* one of root's that root has put there is root's */
    write_file(in(p->theirs, "roots", p->other), 0600, 0);
    assert_int_equal(open_log(p->other), -EACCES);
}

static void a_file_that_is_made_in_ours_is_given_to_them(void **state) {
    place *p = *state;
    struct stat st;
    need_root();
    in(p->ours, "log", p->file);
    set_user();
    is_opened(p->file);
    assert_int_equal(stat(p->file, &st), 0);
    assert_int_equal(st.st_uid, THEIRS);
    assert_int_equal(st.st_gid, THEIRS);
    assert_int_equal(st.st_mode & 07777, 0640);
    is_opened(p->file);
    /* one that was there stays as it is */
    write_file(in(p->ours, "roots", p->other), 0600, 0);
    is_opened(p->other);
    assert_int_equal(owner_of(p->other), 0);
    /* closed to them, but it is not they who go there */
    assert_int_equal(chmod(p->ours, 0700), 0);
    is_opened(p->file);
}

static void their_links_are_not_followed(void **state) {
    place *p = *state;
    char target[160];
    need_root();
    set_user();
    in(p->ours, "target", target);
    in(p->theirs, "log", p->file);
    assert_int_equal(symlink(target, p->file), 0);
    assert_int_equal(open_log(p->file), -DIRTY_SAFE_LINK);
    assert_int_equal(access(target, F_OK), -1);
    write_file(target, 0600, 0);
    assert_int_equal(open_log(p->file), -DIRTY_SAFE_LINK);
    /* a directory on the way: they go no further than they may */
    assert_int_equal(symlink(p->ours, in(p->theirs, "dir", p->other)), 0);
    assert_int_equal(open_log(in(p->theirs, "dir/target", p->other)), -EACCES);
    assert_int_equal(open_log(in(p->theirs, "dir/new", p->other)), -EACCES);
    assert_int_equal(access(in(p->ours, "new", p->other), F_OK), -1);
    /* … and back through it to a path that would be ours */
    char back[300];
    snprintf(back, sizeof back, "%s/dir/../ours/target", p->theirs);
    assert_int_equal(open_log(back), -EACCES);
}

static void their_fifo_or_second_name_is_refused(void **state) {
    place *p = *state;
    need_root();
    set_user();
    in(p->theirs, "log", p->file);
    alarm(20);
    assert_int_equal(mkfifo(p->file, 0666), 0);
    assert_int_equal(lchown(p->file, THEIRS, THEIRS), 0);
    assert_int_equal(open_log(p->file), -DIRTY_SAFE_KIND);
    int reader = open(p->file, O_RDONLY | O_NONBLOCK); /* with one it could be opened */
    assert_int_equal(open_log(p->file), -DIRTY_SAFE_KIND);
    close(reader);
    alarm(0);
    assert_int_equal(unlink(p->file), 0);
    write_file(p->file, 0600, THEIRS);
    assert_int_equal(link(p->file, in(p->theirs, "second", p->other)), 0);
    assert_int_equal(open_log(p->file), -DIRTY_SAFE_NAMES);
    assert_int_equal(unlink(p->other), 0);
    is_opened(p->file);
    assert_int_equal(unlink(p->file), 0);
    write_file(p->file, 0666, THIRD); /* who has put it there? */
    assert_int_equal(open_log(p->file), -DIRTY_SAFE_OWNER);
}

/* As /tmp is: anybody may put something there, but nobody take away what is another's. */
static void in_a_shared_directory_names_count_by_their_owner(void **state) {
    place *p = *state;
    char target[160];
    need_root();
    set_user();
    assert_int_equal(chmod(p->ours, 01777), 0);
    in(p->ours, "log", p->file);
    in(p->dir, "target", target);
    write_file(target, 0600, 0);
    is_opened(p->file); /* made by root, given to them */
    assert_int_equal(owner_of(p->file), THEIRS);
    is_opened(p->file);
    assert_int_equal(unlink(p->file), 0);
    assert_int_equal(symlink(target, p->file), 0);
    is_opened(p->file); /* root's own link */
    assert_int_equal(lchown(p->file, THIRD, THIRD), 0);
    assert_int_equal(open_log(p->file), -DIRTY_SAFE_LINK);
    assert_int_equal(unlink(p->file), 0);
    write_file(p->file, 0666, THIRD);
    assert_int_equal(open_log(p->file), -DIRTY_SAFE_OWNER);
    assert_int_equal(unlink(p->file), 0);
    assert_int_equal(link(target, p->file),
                     0); /* where the kernel lets everybody do it */
    assert_true(open_log(p->file) < 0);
    assert_int_equal(unlink(p->file), 0);
    assert_int_equal(mkfifo(p->file, 0666), 0);
    is_opened(p->file); /* root's own */
    assert_int_equal(lchown(p->file, THIRD, THIRD), 0);
    assert_true(open_log(p->file) < 0);
}

/* Neither root nor the user: what is in a third's directory is done with the third's
 * rights, if nobody else has a part in it. */
static void a_thirds_directory_is_the_thirds(void **state) {
    place *p = *state;
    need_root();
    assert_int_equal(chown(p->ours, THIRD, THIRD), 0);
    in(p->ours, "log", p->file);
    is_opened(p->file); /* no user is set */
    assert_int_equal(owner_of(p->file), THIRD);
    set_user();
    is_opened(p->file);
    assert_int_equal(unlink(p->file), 0);
    assert_int_equal(symlink(in(p->dir, "target", p->other), p->file), 0);
    assert_int_equal(open_log(p->file), -DIRTY_SAFE_LINK);
    assert_int_equal(unlink(p->file), 0);
    /* others may write there, so it is the user who has to be allowed */
    assert_int_equal(mkdir(in(p->ours, "open", p->other), 0777), 0);
    assert_int_equal(chmod(p->other, 0777), 0);
    assert_int_equal(symlink(p->ours, in(p->ours, "open/dir", p->file)), 0);
    assert_int_equal(lchown(p->file, THEIRS, THEIRS), 0);
    assert_int_equal(open_log(in(p->ours, "open/dir/log", p->file)), -EACCES);
}

/* -- What is left behind ---------------------------------------------------------------
 */

static void rights_are_as_before(void **state) {
    place *p = *state;
    const gid_t groups[] = {0, 7, 9};
    gid_t after[8];
    int signal_number = 0;
    need_root();
    set_user();
    assert_int_equal(setgroups(3, groups), 0);
    assert_int_equal(prctl(PR_SET_PDEATHSIG, SIGUSR2), 0);
    is_opened(in(p->theirs, "log", p->file));
    assert_int_equal(setfsuid((uid_t)-1), 0);
    assert_int_equal(setfsgid((gid_t)-1), 0);
    assert_int_equal(getgroups(8, after), 3);
    assert_memory_equal(after, groups, sizeof groups);
    assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
    prctl(PR_GET_PDEATHSIG, &signal_number);
    assert_int_equal(signal_number, SIGUSR2);
    prctl(PR_SET_PDEATHSIG, 0);
    /* root's capabilities are whole again */
    write_file(in(p->ours, "closed", p->other), 0000, THIRD);
    int fd = open(p->other, O_RDWR);
    assert_true(fd >= 0);
    close(fd);
}

static void *report_groups(void *arg) {
    place *p = arg;
    char path[160];
    dirty_safe_scope scope;
    gid_t groups[8];
    assert_int_equal(dirty_safe_enter(&scope, in(p->theirs, "x", path)), 0);
    assert_int_equal(setfsuid((uid_t)-1), THEIRS);
    assert_int_equal(getgroups(8, groups), 1);
    pthread_exit(NULL); /* as the other user, for ever */
}

static void other_threads_keep_their_rights(void **state) {
    pthread_t thread;
    gid_t before[64], after[64];
    need_root();
    set_user();
    int count = getgroups(64, before);
    assert_int_equal(pthread_create(&thread, NULL, report_groups, *state), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(getgroups(64, after), count);
    assert_int_equal(setfsuid((uid_t)-1), 0);
}

/* -- Pidfile and socket ----------------------------------------------------------------
 */

static void a_pidfile_in_their_directory(void **state) {
    place *p = *state;
    dirty_pidfile written = {0};
    char elsewhere[160];
    need_root();
    set_user();
    in(p->theirs, "pid", p->file);
    assert_int_equal(dirty_pidfile_try(p->file), 0);
    assert_int_equal(dirty_pidfile_write(&written, p->file, getpid()), 0);
    assert_int_equal(owner_of(p->file), THEIRS);
    alarm(20);
    assert_int_equal(unlink(p->file), 0);
    assert_int_equal(mkfifo(p->file, 0666), 0);
    dirty_pidfile_remove(&written, p->file, getpid()); /* does not wait for a writer */
    alarm(0);
    assert_int_equal(access(p->file, F_OK), 0);
    /* the directory has become a link to root's */
    write_file(in(p->ours, "pid", elsewhere), 0644, 0);
    char moved[160];
    assert_int_equal(rename(p->theirs, in(p->dir, "moved", moved)), 0);
    assert_int_equal(symlink(p->ours, p->theirs), 0);
    assert_int_equal(lchown(p->theirs, THEIRS, THEIRS), 0);
    assert_int_equal(lchown(p->dir, THEIRS, THEIRS), 0); /* who could do that */
    assert_int_equal(dirty_pidfile_write(&written, p->file, getpid()), -EACCES);
    dirty_pidfile_remove(&written, p->file, getpid());
    assert_int_equal(access(elsewhere, F_OK), 0);
}

static bool is_empty(const char *dir) {
    return rmdir(dir) == 0 && mkdir(dir, 0755) == 0;
}

/* A full disk, as far as a test can have one: no file may have a byte. */
static void a_pidfile_that_can_not_be_written_leaves_nothing(void **state) {
    place *p = *state;
    dirty_pidfile written = {0};
    struct rlimit before, none;
    in(p->ours, "pid", p->file);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &none);
    int wrote = dirty_pidfile_write(&written, p->file, getpid());
    int tried = dirty_pidfile_try(p->file);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(wrote, -EFBIG);
    assert_int_equal(tried, -EFBIG);
    assert_int_equal(written.ino, 0);
    assert_true(is_empty(p->ours));
    mkdir(p->file, 0755); /* or a directory has its name */
    assert_int_equal(dirty_pidfile_write(&written, p->file, getpid()), -EISDIR);
    assert_int_equal(dirty_pidfile_try(p->file), -EISDIR);
    rmdir(p->file);
    assert_true(is_empty(p->ours));
    assert_int_equal(dirty_pidfile_try(p->file), 0);
    assert_true(is_empty(p->ours));
}

static void a_pidfile_that_another_has_written_stays(void **state) {
    place *p = *state;
    dirty_pidfile first = {0}, second = {0};
    in(p->ours, "pid", p->file);
    dirty_pidfile_remove(&first, p->file, getpid()); /* none was written */
    assert_int_equal(dirty_pidfile_write(&first, p->file, 12345), 0);
    assert_int_equal(dirty_pidfile_write(&second, p->file, 12345), 0);
    dirty_pidfile_remove(&first, p->file, 12345);
    assert_int_equal(access(p->file, F_OK), 0);
    dirty_pidfile_remove(&second, p->file, 12345);
    assert_int_equal(access(p->file, F_OK), -1);
}

static dirty_endpoint_options at(const char *path, int64_t uid) {
    return (dirty_endpoint_options){
        .path = path, .mode = 0600, .uid = uid, .gid = -1, .backlog = 8};
}

static void a_socket_in_their_directory(void **state) {
    place *p = *state;
    dirty_endpoint e;
    struct stat st;
    need_root();
    set_user();
    in(p->theirs, "s", p->file);
    dirty_endpoint_options o = at(p->file, THEIRS);
    assert_int_equal(dirty_endpoint_open(&e, &o), 0);
    assert_int_equal(owner_of(p->file), THEIRS);
    assert_int_equal(owner_of(in(p->theirs, "s.lock", p->other)), THEIRS);
    dirty_endpoint_close(&e);
    assert_int_equal(access(p->file, F_OK), -1);
    assert_int_equal(access(p->other, F_OK), -1);
    /* whose directory it is does not say who may call */
    dirty_safe_user(0, 0, NULL, 0);
    o.uid = -1;
    assert_int_equal(dirty_endpoint_open(&e, &o), 0);
    assert_int_equal(stat(p->file, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_gid, getegid());
    assert_int_equal(st.st_mode & 07777, 0600);
    dirty_endpoint_close(&e);
    o.uid = THIRD;
    assert_int_equal(dirty_endpoint_open(&e, &o), 0);
    assert_int_equal(owner_of(p->file), THIRD);
    dirty_endpoint_close(&e);
}

/* They turn their directory into a link to one of root's, where a file has that name. */
static void a_socket_by_their_link(void **state) {
    place *p = *state;
    dirty_endpoint e;
    char moved[160];
    need_root();
    set_user();
    in(p->theirs, "s", p->file);
    dirty_endpoint_options o = at(p->file, THEIRS);
    assert_int_equal(dirty_log_open(in(p->ours, "log", p->other), DIRTY_LOG_INFO), 0);
    assert_int_equal(dirty_endpoint_open(&e, &o), 0);
    assert_int_equal(chown(p->dir, THEIRS, THEIRS), 0);
    assert_int_equal(rename(p->theirs, in(p->dir, "moved", moved)), 0);
    assert_int_equal(symlink(p->ours, p->theirs), 0);
    assert_int_equal(lchown(p->theirs, THEIRS, THEIRS), 0);
    write_file(in(p->ours, "s", p->other), 0600, 0);
    write_file(in(p->ours, "s.lock", p->other), 0600, 0);
    int former;
    assert_false(dirty_endpoint_look(&e, &former));
    dirty_endpoint_close(&e);
    assert_int_equal(access(p->other, F_OK), 0);
    assert_int_equal(owner_of(in(p->ours, "s", p->other)), 0);
    dirty_endpoint second;
    assert_true(dirty_endpoint_open(&second, &o) < 0);
    assert_int_equal(unlink(p->other), 0); /* nothing is in the way any more */
    assert_int_equal(unlink(in(p->ours, "s.lock", p->other)), 0);
    assert_int_equal(dirty_endpoint_open(&second, &o), -EACCES);
    assert_int_equal(access(p->other, F_OK), -1);
}

/* -- Who may change a file -------------------------------------------------------------
 */

static void is_blamed(const char *file, int what, const char *path) {
    dirty_trail_fault fault;
    assert_int_equal(dirty_trail_judge(file, &fault), 1);
    assert_int_equal(fault.what, what);
    assert_string_equal(fault.path, path);
}

static void a_file_is_ours_if_nobody_else_may_change_it(void **state) {
    place *p = *state;
    dirty_trail_fault fault;
    char link_path[160];
    in(p->ours, "conf", p->file);
    assert_int_equal(dirty_trail_judge(p->file, &fault), -ENOENT);
    write_file(p->file, 0644, 0);
    assert_int_equal(dirty_trail_judge(p->file, &fault), 0);
    assert_int_equal(dirty_trail_judge("/dev/null", &fault), 0);
    assert_int_equal(chmod(p->file, 0646), 0);
    is_blamed(p->file, DIRTY_TRAIL_WRITERS, p->file);
    need_root();
    assert_int_equal(chmod(p->file, 0664), 0); /* root's group */
    assert_int_equal(dirty_trail_judge(p->file, &fault), 0);
    assert_int_equal(chown(p->file, 0, THEIRS), 0);
    is_blamed(p->file, DIRTY_TRAIL_WRITERS, p->file);
    assert_int_equal(chmod(p->file, 0644), 0);
    assert_int_equal(dirty_trail_judge(p->file, &fault), 0);
    assert_int_equal(chown(p->file, THEIRS, 0), 0);
    is_blamed(p->file, DIRTY_TRAIL_OWNER, p->file);
    write_file(in(p->theirs, "conf", p->other), 0644, 0); /* they may put another there */
    is_blamed(p->other, DIRTY_TRAIL_OWNER, p->theirs);
    /* a directory that others may write to, with and without the sticky bit */
    assert_int_equal(chown(p->file, 0, 0), 0);
    assert_int_equal(chmod(p->ours, 0777), 0);
    is_blamed(p->file, DIRTY_TRAIL_WRITERS, p->ours);
    assert_int_equal(symlink(p->file, in(p->dir, "link", link_path)), 0);
    is_blamed(link_path, DIRTY_TRAIL_WRITERS, p->ours);
    assert_int_equal(chmod(p->ours, 01777), 0);
    assert_int_equal(dirty_trail_judge(link_path, &fault), 0);
    assert_int_equal(link(p->file, in(p->ours, "second", p->other)), 0);
    is_blamed(p->file, DIRTY_TRAIL_NAMES, p->file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(our_own_path_means_what_it_says),
        TEST(what_can_not_be_is_said_as_open_does),
        TEST(our_own_fifo_waits_for_nobody),
        TEST(our_own_devices_are_good_for_a_log_alone),
        TEST(our_own_descriptors_are_good_for_a_log_alone),
        TEST(a_file_in_their_directory_is_theirs),
        TEST(a_file_that_is_made_in_ours_is_given_to_them),
        TEST(their_links_are_not_followed),
        TEST(their_fifo_or_second_name_is_refused),
        TEST(in_a_shared_directory_names_count_by_their_owner),
        TEST(a_thirds_directory_is_the_thirds),
        TEST(rights_are_as_before),
        TEST(other_threads_keep_their_rights),
        TEST(a_pidfile_in_their_directory),
        TEST(a_pidfile_that_can_not_be_written_leaves_nothing),
        TEST(a_pidfile_that_another_has_written_stays),
        TEST(a_socket_in_their_directory),
        TEST(a_socket_by_their_link),
        TEST(a_file_is_ours_if_nobody_else_may_change_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
