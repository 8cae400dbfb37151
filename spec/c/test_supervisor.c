/* The parts of the supervisor, and of what it shares with the arbiter, each alone. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endpoint.h"
#include "base/proc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/report.h"
#include "supervisor/arbiter_process.h"
#include "base/children.h"
#include "supervisor/sd_notify.h"
#include "supervisor/orphans.h"
#include "supervisor/credentials.h"
#include "supervisor/watchdog.h"
#include "supervisor/sweep.h"

/* -- Endpoint --------------------------------------------------------------------------
 */

typedef struct place {
    char dir[64], path[96], lock[104], log[96];
} place;

static int make_place(void **state) {
    place *p = calloc(1, sizeof *p);
    snprintf(p->dir, sizeof p->dir, "/tmp/dirty-sup-XXXXXX");
    if (mkdtemp(p->dir) == NULL)
        return -1;
    snprintf(p->path, sizeof p->path, "%s/s", p->dir);
    snprintf(p->lock, sizeof p->lock, "%s/s.lock", p->dir);
    snprintf(p->log, sizeof p->log, "%s/log", p->dir);
    dirty_log_open(p->log, DIRTY_LOG_INFO);
    *state = p;
    return 0;
}

static int remove_place(void **state) {
    place *p = *state;
    dirty_log_open(NULL, DIRTY_LOG_INFO);
    unlink(p->path);
    unlink(p->lock);
    unlink(p->log);
    rmdir(p->dir);
    free(p);
    return 0;
}

static bool is_logged(const place *p, const char *part) {
    char text[4096];
    FILE *f = fopen(p->log, "r");
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    return strstr(text, part) != NULL;
}

static dirty_endpoint_options at(const place *p) {
    return (dirty_endpoint_options){
        .path = p->path, .mode = 0640, .uid = -1, .gid = -1, .backlog = 8};
}

static int connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int rc = connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static void an_endpoint_listens_with_its_mode(void **state) {
    place *p = *state;
    dirty_endpoint e;
    struct stat st;
    dirty_endpoint_options o = at(p);
    mode_t before = umask(077); /* must not matter, and must stay */
    assert_int_equal(dirty_endpoint_open(&e, &o), 0);
    assert_int_equal(umask(before), 077);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(stat(p->lock, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(fcntl(e.fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(e.fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(e.lock_fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(connect_to(p->path), 0);
    dirty_endpoint_close(&e);
    dirty_endpoint_close(&e);
    assert_int_equal(access(p->path, F_OK), -1);
    assert_int_equal(access(p->lock, F_OK), -1);
}

static void an_endpoint_is_given_to_its_owner(void **state) {
    place *p = *state;
    dirty_endpoint e;
    struct stat st;
    if (geteuid() != 0)
        skip();
    dirty_endpoint_options o = at(p);
    o.uid = 12;
    o.gid = 34;
    assert_int_equal(dirty_endpoint_open(&e, &o), 0);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_uid, 12);
    assert_int_equal(st.st_gid, 34);
    assert_int_equal(st.st_mode & 07777, 0640);
    dirty_endpoint_close(&e);
}

static void a_second_endpoint_does_not_get_the_path(void **state) {
    place *p = *state;
    dirty_endpoint first, second;
    dirty_endpoint_options o = at(p);
    assert_int_equal(dirty_endpoint_open(&first, &o), 0);
    assert_int_equal(dirty_endpoint_open(&second, &o), -EADDRINUSE);
    assert_true(is_logged(p, "another runtime serves this socket"));
    assert_int_equal(second.fd, -1);
    assert_int_equal(second.lock_fd, -1);
    assert_int_equal(connect_to(p->path), 0);
    /* not even in a process that has the first by fork, and gave up its part */
    pid_t child = fork();
    if (child == 0) {
        dirty_endpoint_disown(&first);
        _exit(dirty_endpoint_open(&second, &o) == -EADDRINUSE ? 0 : 1);
    }
    int wait_status;
    assert_int_equal(waitpid(child, &wait_status, 0), child);
    assert_int_equal(wait_status, 0);
    dirty_endpoint_close(&first);
}

static void a_path_that_was_let_go_is_the_next_ones(void **state) {
    place *p = *state;
    dirty_endpoint first, second;
    dirty_endpoint_options o = at(p);
    assert_int_equal(dirty_endpoint_open(&first, &o), 0);
    dirty_endpoint_unlink(&first);
    assert_int_equal(dirty_endpoint_open(&second, &o), 0);
    dirty_endpoint_close(&first); /* removes nothing of the second */
    assert_int_equal(connect_to(p->path), 0);
    assert_int_equal(access(p->lock, F_OK), 0);
    dirty_endpoint_close(&second);
}

static void what_is_no_socket_stays(void **state) {
    place *p = *state;
    dirty_endpoint e;
    dirty_endpoint_options o = at(p);
    close(creat(p->path, 0600));
    assert_int_equal(dirty_endpoint_open(&e, &o), -EEXIST);
    assert_true(is_logged(p, "the path is not a socket"));
    assert_int_equal(access(p->path, F_OK), 0);
    assert_int_equal(access(p->lock, F_OK), -1);
    o.path = "/nowhere/s";
    assert_int_equal(dirty_endpoint_open(&e, &o), -ENOENT);
    char path[120];
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[108] = '\0'; /* one too long */
    o.path = path;
    assert_int_equal(dirty_endpoint_open(&e, &o), -ENAMETOOLONG);
}

/* -- Reports ---------------------------------------------------------------------------
 */

static void reports_arrive_whole_and_in_order(void **state) {
    (void)state;
    int pair[2];
    dirty_report r = {.kind = DIRTY_REPORT_READY, .within_ms = 7, .text = "socket=/x"};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(dirty_report_take(pair[1], &r), 0);
    assert_int_equal(dirty_report_send(pair[0], &r), 0);
    memset(r.text, 'y', sizeof r.text); /* not terminated: cut */
    r.kind = DIRTY_REPORT_RELOADED;
    assert_int_equal(dirty_report_send(pair[0], &r), 0);
    assert_int_equal(send(pair[0], "x", 1, 0), 1);
    memset(&r, 0xff, sizeof r);
    assert_int_equal(dirty_report_take(pair[1], &r), 1);
    assert_int_equal(r.kind, DIRTY_REPORT_READY);
    assert_int_equal(r.within_ms, 7);
    assert_int_equal(r.pid, getpid());
    assert_string_equal(r.text, "socket=/x");
    assert_int_equal(dirty_report_take(pair[1], &r), 1);
    assert_int_equal(r.kind, DIRTY_REPORT_RELOADED);
    assert_int_equal(strlen(r.text), DIRTY_REPORT_TEXT_SIZE - 1);
    assert_int_equal(dirty_report_take(pair[1], &r), -1); /* no report */
    close(pair[0]);
    assert_int_equal(dirty_report_take(pair[1], &r), -1); /* the end */
    close(pair[1]);
}

static void a_report_never_waits(void **state) {
    (void)state;
    int pair[2], rc = 0;
    dirty_report r = {.kind = DIRTY_REPORT_ALIVE};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    for (int i = 0; i < 100000 && rc == 0; i++)
        rc = dirty_report_send(pair[0], &r);
    assert_int_equal(rc, -EAGAIN);
    close(pair[1]);
    assert_true(dirty_report_send(pair[0], &r) < 0);
    close(pair[0]);
}

/* -- Children and the sweep ------------------------------------------------------------
 */

typedef struct found {
    pid_t wanted[3];
    unsigned seen[3], others;
} found;

static void note(pid_t child, void *arg) {
    found *f = arg;
    for (int i = 0; i < 3; i++)
        if (f->wanted[i] == child) {
            f->seen[i]++;
            return;
        }
    f->others++;
}

static pid_t start_child(void) {
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_NAME, "a) b (c"); /* names may hold what stands around them */
        for (;;)
            pause();
    }
    return pid;
}

static void children_are_found_in_both_ways(void **state) {
    (void)state;
    found f = {.others = 0};
    for (int i = 0; i < 3; i++)
        f.wanted[i] = start_child();
    kill(f.wanted[0], SIGKILL); /* a zombie is a child too */
    siginfo_t info;
    waitid(P_PID, (id_t)f.wanted[0], &info, WEXITED | WNOWAIT);
    dirty_children_scanned(note, &f);
    unsigned ways = 1;
    if (dirty_children_listed(note, &f))
        ways++;
    for (int i = 0; i < 3; i++)
        assert_int_equal(f.seen[i], ways);
    assert_int_equal(f.others, 0);
    assert_int_equal(dirty_sweep(5000), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(kill(f.wanted[i], 0), -1);
}

/* A child, its child in a session of its own, and that one's child. Their ids go to
 * `out`. */
static void start_family(int out) {
    pid_t pid = fork();
    if (pid != 0)
        return;
    for (int depth = 0; depth < 3; depth++) {
        pid = getpid();
        signal(SIGTERM, SIG_IGN);
        write(out, &pid, sizeof pid);
        if (depth == 2 || fork() != 0)
            break;
        setsid();
    }
    for (;;)
        pause();
}

static void a_sweep_ends_whole_families(void **state) {
    (void)state;
    int fds[2];
    pid_t family[9];
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    assert_int_equal(dirty_sweep(5000), 0); /* there is nothing */
    assert_int_equal(pipe(fds), 0);
    for (int i = 0; i < 3; i++)
        start_family(fds[1]);
    for (int i = 0; i < 9; i++)
        assert_int_equal(read(fds[0], &family[i], sizeof family[i]), sizeof family[i]);
    assert_int_equal(dirty_sweep(5000), 9);
    for (int i = 0; i < 9; i++)
        assert_int_equal(kill(family[i], 0), -1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    close(fds[0]);
    close(fds[1]);
}

static void a_sweep_tells_what_it_can_not_end(void **state) {
    place *p = *state;
    char pids[40];
    pid_t child = start_child();
    assert_int_equal(dirty_sweep(0), 0); /* no time: it is not even tried */
    snprintf(pids, sizeof pids, "pids=\"%d\"", (int)child);
    assert_true(is_logged(p, "can't kill processes"));
    assert_true(is_logged(p, pids));
    assert_int_equal(dirty_sweep(5000), 1);
}

static void a_sweep_spares_whom_we_had_before(void **state) {
    (void)state;
    pid_t before = start_child();
    dirty_sweep_spare();
    pid_t after = start_child();
    assert_int_equal(dirty_sweep(5000), 1);
    assert_int_equal(kill(after, 0), -1);
    assert_int_equal(kill(before, 0), 0);
    assert_int_equal(dirty_sweep(5000), 0);
    kill(before, SIGKILL);
    assert_int_equal(waitpid(before, NULL, 0), before);
    dirty_sweep_spare(); /* there are none */
    start_child();
    assert_int_equal(dirty_sweep(5000), 1);
}

/* -- Owners ----------------------------------------------------------------------------
 */

/* A child with our mark, or with none, that has become another program. */
static pid_t start_program(bool marked) {
    pid_t pid = fork();
    if (pid == 0) {
        if (!marked)
            clearenv();
        execl("/bin/sleep", "sleep", "1012", (char *)NULL);
        _exit(127);
    }
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    while (strcmp(text, "sleep\n") != 0) {
        FILE *f = fopen(path, "r");
        if (f == NULL || fgets(text, sizeof text, f) == NULL)
            fail_msg("no program");
        fclose(f);
    }
    return pid;
}

static void programs_show_by_whom_they_run(void **state) {
    (void)state;
    dirty_proc own, owner, child;
    dirty_proc_mark();
    assert_int_equal(dirty_proc_read(getpid(), &own), 0);
    assert_int_equal(own.parent, getppid());
    pid_t marked = start_program(true), unmarked = start_program(false);
    assert_int_equal(dirty_proc_marked_by(marked, &owner), 0);
    assert_int_equal(owner.pid, getpid());
    assert_true(owner.at == own.at);
    assert_true(dirty_proc_is_alive(&owner));
    owner.at--; /* another process, which had our id before */
    assert_false(dirty_proc_is_alive(&owner));
    assert_int_equal(dirty_proc_marked_by(unmarked, &owner), -1);
    assert_int_equal(dirty_proc_read(marked, &child), 0);
    assert_true(child.parent == getpid() && child.at >= own.at && !child.has_ended);
    kill(marked, SIGKILL);
    siginfo_t info;
    waitid(P_PID, (id_t)marked, &info, WEXITED | WNOWAIT);
    assert_false(dirty_proc_is_alive(&child)); /* a zombie lives no more */
    assert_int_equal(dirty_sweep(5000), 2);
    assert_int_equal(dirty_proc_read(marked, &child), -1);
}

/* In a child that can open nothing, as where /proc hides what is not one's own. */
static void who_can_not_be_looked_up_lives_while_its_id_does(void **state) {
    (void)state;
    dirty_proc own, gone;
    assert_int_equal(dirty_proc_read(getpid(), &own), 0);
    pid_t other = start_child();
    assert_int_equal(dirty_proc_read(other, &gone), 0);
    assert_int_equal(dirty_sweep(5000), 1);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit none = {0, 0};
        bool ok = setrlimit(RLIMIT_NOFILE, &none) == 0 &&
                  dirty_proc_read(own.pid, &(dirty_proc){0}) < 0 &&
                  dirty_proc_is_alive(&own) && !dirty_proc_is_alive(&gone);
        _exit(ok ? 0 : 1);
    }
    int wait_status;
    assert_int_equal(waitpid(child, &wait_status, 0), child);
    assert_int_equal(wait_status, 0);
}

static void orphans_end_when_their_owner_has(void **state) {
    place *p = *state;
    dirty_proc_mark();
    pid_t ours = start_program(true);
    setenv("DIRTY_OWNER", "2147483647.1", 1); /* nobody */
    pid_t arbiter = start_program(true), orphan = start_program(true),
          stranger = start_program(false);
    unsetenv("DIRTY_OWNER");
    assert_int_equal(dirty_orphans_kill(arbiter), 1);
    assert_true(is_logged(p, "killed a process that a dead worker had started"));
    int wait_status;
    assert_int_equal(waitpid(orphan, &wait_status, 0), orphan);
    assert_int_equal(wait_status, SIGKILL);
    assert_int_equal(dirty_orphans_kill(arbiter), 0);
    assert_int_equal(kill(ours, 0) | kill(arbiter, 0) | kill(stranger, 0), 0);
    assert_int_equal(dirty_sweep(5000), 3);
}

static void orphans_that_may_not_be_looked_at_are_told(void **state) {
    place *p = *state;
    dirty_proc owner;
    if (geteuid() != 0)
        skip();
    pid_t orphan = start_program(true);
    assert_int_equal(seteuid(65534), 0);
    int rc = dirty_proc_marked_by(orphan, &owner);
    unsigned killed = dirty_orphans_kill(0);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(rc, -EACCES);
    assert_int_equal(killed, 0);
    assert_true(is_logged(p, "can't see which worker started a process"));
    assert_int_equal(dirty_sweep(5000), 1);
}

/* -- Silence ---------------------------------------------------------------------------
 */

#define SECOND (1000 * DIRTY_NS_PER_MS)

static void silence_is_told_when_it_is_too_long(void **state) {
    (void)state;
    watchdog s;
    uint64_t now = 7 * SECOND;
    watchdog_init(&s, 30000);
    assert_int_equal(watchdog_interval_ms(&s), 1000);
    assert_false(watchdog_check(&s, now)); /* nobody listens yet */
    watchdog_start(&s, now);
    for (int i = 1; i < 30; i++)
        assert_false(watchdog_check(&s, now + (uint64_t)i * SECOND));
    watchdog_heard(&s);
    assert_false(watchdog_check(&s, now + 30 * SECOND)); /* 1 */
    for (int i = 31; i < 59; i++)
        assert_false(watchdog_check(&s, now + (uint64_t)i * SECOND));
    assert_false(watchdog_check(&s, now + 59 * SECOND - 1)); /* not yet time to look */
    assert_true(watchdog_check(&s, now + 59 * SECOND));
    watchdog_stop(&s);
    assert_false(watchdog_check(&s, now + 90 * SECOND));
}

static void silence_does_not_count_while_nobody_could_hear(void **state) {
    (void)state;
    watchdog s;
    watchdog_init(&s, 1000);
    assert_int_equal(watchdog_interval_ms(&s), 250);
    watchdog_start(&s, SECOND);
    uint64_t now = SECOND;
    for (int i = 0; i < 100; i++)
        assert_false(watchdog_check(&s, now += SECOND)); /* late each time */
    for (int i = 0; i < 3; i++)
        assert_false(watchdog_check(&s, now += SECOND / 4));
    assert_true(watchdog_check(&s, now + SECOND / 4));
}

static void silence_has_limits_of_its_own(void **state) {
    (void)state;
    watchdog s;
    watchdog_init(&s, 0);
    watchdog_start(&s, SECOND);
    assert_int_equal(watchdog_interval_ms(&s), 0);
    assert_false(watchdog_check(&s, 1000 * SECOND));
    watchdog_init(&s, 1); /* a process may have to wait longer for a CPU */
    assert_int_equal(watchdog_interval_ms(&s), 50);
    watchdog_start(&s, SECOND);
    for (int i = 1; i < 4; i++)
        assert_false(watchdog_check(&s, SECOND + (uint64_t)i * SECOND / 20));
    assert_true(watchdog_check(&s, SECOND + SECOND / 5));
    watchdog_init(&s, UINT32_MAX);
    assert_int_equal(watchdog_interval_ms(&s), 1000);
    assert_int_equal(s.most, UINT32_MAX / 1000 + 1);
}

/* -- Rights ----------------------------------------------------------------------------
 */

static void rights_are_found_by_name_and_number(void **state) {
    (void)state;
    dirty_credentials r;
    char why[200];
    if (geteuid() != 0)
        skip();
    const struct passwd *nobody = getpwnam("nobody");
    int64_t uid = nobody->pw_uid, gid = nobody->pw_gid,
            daemon = getgrnam("daemon")->gr_gid;
    assert_int_equal(dirty_credentials_find(&r, NULL, NULL, why, sizeof why), 0);
    assert_true(r.uid == -1 && r.gid == -1);
    dirty_credentials_deinit(&r);
    assert_int_equal(dirty_credentials_find(&r, "nobody", NULL, why, sizeof why), 0);
    assert_true(r.uid == uid && r.gid == gid && r.group_count >= 1);
    assert_string_equal(r.name, "nobody");
    dirty_credentials_deinit(&r);
    assert_int_equal(dirty_credentials_find(&r, "65534", "daemon", why, sizeof why), 0);
    assert_true(r.uid == 65534 && r.gid == daemon);
    dirty_credentials_deinit(&r);
    assert_int_equal(dirty_credentials_find(&r, "4294000", "17", why, sizeof why), 0);
    assert_true(r.uid == 4294000 && r.gid == 17 && r.groups == NULL && r.name == NULL);
    dirty_credentials_deinit(&r);
}

/* The kernel's, but they may be told to leave an id as it is. */
static enum { ALL, REAL_UID, SAVED_UID, REAL_GID, SAVED_GID } left;

int setresuid(uid_t real, uid_t effective, uid_t saved) {
    return (int)syscall(SYS_setresuid, left == REAL_UID ? (uid_t)-1 : real, effective,
                        left == SAVED_UID ? (uid_t)-1 : saved);
}

int setresgid(gid_t real, gid_t effective, gid_t saved) {
    return (int)syscall(SYS_setresgid, left == REAL_GID ? (gid_t)-1 : real, effective,
                        left == SAVED_GID ? (gid_t)-1 : saved);
}

enum { TAKEN = 50, REFUSED, OTHERWISE, NOT_TRIED };

/* In a child that has root's groups: become nobody, and look at what is left of root. */
static int take_rights(int keep, unsigned long secure_bits) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        gid_t groups[8] = {0, 4};
        dirty_credentials r = {.uid = 65534, .gid = 65534};
        if (setgroups(2, groups) < 0 ||
            (secure_bits != 0 && prctl(PR_SET_SECUREBITS, secure_bits) < 0))
            _exit(NOT_TRIED);
        left = keep;
        int rc = dirty_credentials_take(&r);
        if (rc < 0)
            _exit(rc == -EPERM ? REFUSED : OTHERWISE);
        _exit(getgroups(8, groups) == 1 && groups[0] == 65534 ? TAKEN : OTHERWISE);
    }
    int wait_status;
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_true(WIFEXITED(wait_status));
    return WEXITSTATUS(wait_status);
}

/* ThreadSanitizer has a thread of its own. The calls that this file puts before the C
 * library's change the ids of one thread, and the C library ends a process whose threads
 * differ. */
static bool can_take_credentials(void) {
#ifdef __SANITIZE_THREAD__
    return false;
#else
    return geteuid() == 0;
#endif
}

static void rights_that_leave_a_way_back_are_refused(void **state) {
    (void)state;
    if (!can_take_credentials())
        skip();
    int taken = take_rights(ALL, 0);
    if (taken == NOT_TRIED)
        skip();
    assert_int_equal(taken, TAKEN);
    assert_int_equal(take_rights(REAL_UID, 0), REFUSED);
    assert_int_equal(take_rights(SAVED_UID, 0), REFUSED);
    assert_int_equal(take_rights(REAL_GID, 0), REFUSED);
    assert_int_equal(take_rights(SAVED_GID, 0), REFUSED);
    /* all ids are nobody's, but the right to change them has stayed */
    int with_capabilities = take_rights(ALL, SECBIT_NO_SETUID_FIXUP);
    assert_true(with_capabilities == REFUSED || with_capabilities == NOT_TRIED);
}

static void rights_that_are_not_there_are_told(void **state) {
    (void)state;
    dirty_credentials r;
    char why[200];
    static const struct {
        const char *user, *group, *why;
    } cases[] = {
        {"no such", NULL, "user = \"no such\": there is no such user"},
        {NULL, "no such", "group = \"no such\": there is no such group"},
        {"4294000", NULL, "set group too"},
        {"4294967295", "0", "there is no such user"}, /* -1: "leave", to the kernel */
        {"12x", "0", "there is no such user"},
        {"-1", "0", "there is no such user"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        why[0] = '\0';
        assert_int_equal(
            dirty_credentials_find(&r, cases[i].user, cases[i].group, why, sizeof why),
            -1);
        assert_non_null(strstr(why, cases[i].why));
        assert_true(r.uid == -1 && r.gid == -1 && r.name == NULL && r.groups == NULL);
    }
}

static void rights_are_taken_for_good(void **state) {
    (void)state;
    if (!can_take_credentials())
        skip();
    pid_t child = fork();
    if (child == 0) {
        dirty_credentials r;
        char why[200];
        gid_t groups[64];
        bool ok = dirty_credentials_find(&r, "nobody", "daemon", why, sizeof why) == 0 &&
                  dirty_credentials_take(&r) == 0 && getuid() == 65534 &&
                  getgid() == (gid_t)r.gid && setuid(0) < 0 && setgid(0) < 0 &&
                  setgroups(1, groups) < 0 && prctl(PR_GET_DUMPABLE) == 1;
        int count = getgroups(64, groups);
        for (int i = 0; i < count; i++)
            ok = ok && groups[i] != 0;
        /* once more is no error: they are ours already */
        ok = ok && strcmp(getenv("USER"), "nobody") == 0;
        dirty_credentials_deinit(&r);
        ok = ok && dirty_credentials_find(&r, "nobody", "daemon", why, sizeof why) == 0 &&
             dirty_credentials_take(&r) == 0;
        dirty_credentials_deinit(&r);
        ok = ok && dirty_credentials_find(&r, "root", NULL, why, sizeof why) == -1;
        _exit(ok ? 0 : 1);
    }
    int wait_status;
    assert_int_equal(waitpid(child, &wait_status, 0), child);
    assert_int_equal(wait_status, 0);
}

/* -- Notify ----------------------------------------------------------------------------
 */

static uint32_t watchdog_of(const char *usec, const char *pid) {
    dirty_sd_notify n;
    setenv("NOTIFY_SOCKET", "@dirty-nobody", 1);
    setenv("WATCHDOG_USEC", usec, 1);
    if (pid != NULL)
        setenv("WATCHDOG_PID", pid, 1);
    dirty_sd_notify_open(&n);
    assert_true(n.fd >= 0);
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
    dirty_sd_notify_send(&n, "READY=1"); /* nobody listens: logged, no more */
    dirty_sd_notify_close(&n);
    return n.watchdog_ms;
}

static void the_watchdog_is_read_from_the_environment(void **state) {
    place *p = *state;
    char own[20];
    snprintf(own, sizeof own, "%d", (int)getpid());
    assert_int_equal(watchdog_of("30000000", NULL), 15000);
    assert_int_equal(watchdog_of("30000000", own), 15000);
    assert_int_equal(watchdog_of("30000000", "1"), 0);
    assert_int_equal(watchdog_of("1", NULL), 1);
    assert_int_equal(watchdog_of("0", NULL), 0);
    assert_int_equal(watchdog_of("18446744073709551615", NULL), INT32_MAX);
    assert_int_equal(watchdog_of("99999999999999999999", NULL), 0);
    assert_int_equal(watchdog_of("30s", NULL), 0);
    assert_true(is_logged(p, "WATCHDOG_USEC=\"30s\""));
    assert_true(is_logged(p, "can't send to the service manager"));
}

static void without_a_listener_nothing_is_said(void **state) {
    place *p = *state;
    dirty_sd_notify n;
    unsetenv("NOTIFY_SOCKET");
    setenv("WATCHDOG_USEC", "1000000", 1);
    dirty_sd_notify_open(&n);
    assert_int_equal(n.fd, -1);
    assert_int_equal(n.watchdog_ms, 0);
    dirty_sd_notify_send(&n, "READY=1");
    dirty_sd_notify_close(&n);
    assert_false(is_logged(p, "service manager"));
}

/* A socket that takes no more until it is read, and what is told to it. */
static int open_full_listener(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int from = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(connect(from, (struct sockaddr *)&address, sizeof address), 0);
    while (send(from, "FILLER", 6, MSG_DONTWAIT) == 6)
        continue;
    close(from);
    return fd;
}

/* Read all that has come; how many of them say so. */
static unsigned count_told(int fd, const char *what) {
    char text[DIRTY_SD_NOTIFY_TEXT_SIZE];
    unsigned count = 0;
    for (;;) {
        ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
        if (n < 0)
            return count;
        text[n] = '\0';
        count += strcmp(text, what) == 0;
    }
}

static void messages_wait_for_room_and_then_nothing_is_due(void **state) {
    place *p = *state;
    dirty_sd_notify n;
    int fd = open_full_listener(p->path);
    setenv("NOTIFY_SOCKET", p->path, 1);
    dirty_sd_notify_open(&n);
    dirty_sd_notify_send(&n, "STATUS=%s", "kept");
    uint64_t due_ns = n.again_at_ns;
    assert_true(due_ns > 0);
    dirty_sd_notify_send(&n, "STATUS=%s", "behind"); /* does not put it off */
    assert_true(n.again_at_ns == due_ns);
    assert_int_equal(n.count, 2);
    n.again_at_ns = 1;
    dirty_sd_notify_again(&n); /* it has not been read yet */
    assert_true(n.again_at_ns > due_ns);
    assert_int_equal(n.count, 2);
    assert_int_equal(count_told(fd, "STATUS=kept"), 0);
    dirty_sd_notify_beat(&n); /* there is room, but what is kept goes first */
    assert_int_equal(count_told(fd, "WATCHDOG=1"), 0);
    n.again_at_ns = UINT64_MAX;
    dirty_sd_notify_again(&n); /* too early */
    assert_int_equal(n.count, 2);
    n.again_at_ns = 1;
    dirty_sd_notify_again(&n);
    assert_int_equal(n.count, 0);
    assert_true(n.again_at_ns == 0);
    assert_int_equal(count_told(fd, "STATUS=kept"), 1);
    assert_true(is_logged(p, "the service manager reads again"));
    assert_true(is_logged(p, "lost=0"));
    dirty_sd_notify_beat(&n);
    assert_int_equal(count_told(fd, "WATCHDOG=1"), 1);
    dirty_sd_notify_close(&n);
    close(fd);
}

/* -- The next arbiter ------------------------------------------------------------------
 */

/* How many quick deaths in a row there are, when one is told of an arbiter that served,
 * or did not, and became ready so long ago, where there were `before`. */
static unsigned quick_deaths_after(bool serves, uint64_t ready_ms_ago, unsigned before) {
    supervisor s = {.phase = SERVING,
                    .serves = serves,
                    .ready_ns = dirty_now_ns() - ready_ms_ago * DIRTY_NS_PER_MS,
                    .report_fd = -1,
                    .quick_deaths = before,
                    .sd_notify = {.fd = -1}};
    dirty_relay_init(&s.relay);
    arbiter_process_gone(&s, SIGKILL);
    assert_false(s.done);
    assert_int_equal(s.restarts, 1);
    assert_string_equal(s.last_exit, "subreaper: signal 9 SIGKILL");
    return s.quick_deaths;
}

static void only_an_arbiter_that_served_for_long_dies_as_the_first(void **state) {
    (void)state;
    assert_int_equal(quick_deaths_after(true, 60000, 5), 1);
    assert_int_equal(quick_deaths_after(true, 0, 5), 6);
    assert_int_equal(quick_deaths_after(false, 60000, 5), 6);
    assert_int_equal(quick_deaths_after(false, 0, 5), 6);
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_PLACE(an_endpoint_listens_with_its_mode),
        WITH_PLACE(an_endpoint_is_given_to_its_owner),
        WITH_PLACE(a_second_endpoint_does_not_get_the_path),
        WITH_PLACE(a_path_that_was_let_go_is_the_next_ones),
        WITH_PLACE(what_is_no_socket_stays),
        cmocka_unit_test(reports_arrive_whole_and_in_order),
        cmocka_unit_test(a_report_never_waits),
        cmocka_unit_test(children_are_found_in_both_ways),
        cmocka_unit_test(a_sweep_ends_whole_families),
        WITH_PLACE(a_sweep_tells_what_it_can_not_end),
        cmocka_unit_test(a_sweep_spares_whom_we_had_before),
        cmocka_unit_test(programs_show_by_whom_they_run),
        cmocka_unit_test(who_can_not_be_looked_up_lives_while_its_id_does),
        WITH_PLACE(orphans_end_when_their_owner_has),
        WITH_PLACE(orphans_that_may_not_be_looked_at_are_told),
        cmocka_unit_test(silence_is_told_when_it_is_too_long),
        cmocka_unit_test(silence_does_not_count_while_nobody_could_hear),
        cmocka_unit_test(silence_has_limits_of_its_own),
        cmocka_unit_test(rights_are_found_by_name_and_number),
        cmocka_unit_test(rights_that_leave_a_way_back_are_refused),
        cmocka_unit_test(rights_that_are_not_there_are_told),
        cmocka_unit_test(rights_are_taken_for_good),
        WITH_PLACE(the_watchdog_is_read_from_the_environment),
        WITH_PLACE(without_a_listener_nothing_is_said),
        WITH_PLACE(messages_wait_for_room_and_then_nothing_is_due),
        WITH_PLACE(only_an_arbiter_that_served_for_long_dies_as_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
