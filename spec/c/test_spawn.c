/* dirty_spawn: a runtime of this program's own, and what becomes of this program's
 * signals, children and descriptors meanwhile. How the tree ends with the program is in
 * spec/runtime/spawn_spec.lua. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dirty.h"

#define PATH_SIZE 160
#define APPS_SIZE 4

typedef struct own {
    char dir[64], program[PATH_SIZE], socket[PATH_SIZE], log[PATH_SIZE], lua[PATH_SIZE];
    const char *apps[APPS_SIZE], *args[8];
    int log_fd;
    dirty_spawn_options o;
    dirty_runtime *rt;
} own;

static int set_up(void **state) {
    static const char *const args[] = {"--workers", "1", "--lua-path"};
    own *t = calloc(1, sizeof *t);
    const char *build = getenv("DIRTY_BUILD");
    char cwd[PATH_SIZE / 2];
    if (build == NULL || build[0] != '/')
        snprintf(t->program, sizeof t->program, "%s/%s/dirty", getcwd(cwd, sizeof cwd),
                 build != NULL ? build : "build");
    else
        snprintf(t->program, sizeof t->program, "%s/dirty", build);
    snprintf(t->dir, sizeof t->dir, "/tmp/dirty-spawn-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->socket, sizeof t->socket, "%s/s", t->dir);
    snprintf(t->log, sizeof t->log, "%s/log", t->dir);
    snprintf(t->lua, sizeof t->lua, "%s/?.lua", t->dir);
    t->log_fd = open(t->log, O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
    dirty_spawn_options_init(&t->o);
    memcpy(t->args, args, sizeof args);
    t->args[3] = t->lua;
    t->apps[0] = "apps.echo";
    t->o.program = t->program;
    t->o.socket = t->socket;
    t->o.apps = t->apps;
    t->o.args = t->args;
    t->o.log_fd = t->log_fd;
    *state = t;
    return 0;
}

static void write_file(const own *t, const char *name, const char *text, mode_t mode) {
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", t->dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static int tear_down(void **state) {
    static const char *const names[] = {"s",        "s.lock", "log",   "broken.lua",
                                        "slow.lua", "c.lua",  "script"};
    own *t = *state;
    char path[PATH_SIZE];
    dirty_runtime_free(t->rt);
    close(t->log_fd);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", t->dir, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(t->dir), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child, no zombie */
    free(t);
    return 0;
}

static void spawn(own *t) {
    int rc = dirty_spawn(&t->rt, &t->o);
    if (rc < 0)
        fail_msg("%s: %s", dirty_err_name(rc), dirty_runtime_errmsg(t->rt));
}

static void expect_failure(own *t, int code, const char *words) {
    int rc = dirty_spawn(&t->rt, &t->o);
    assert_non_null(t->rt);
    assert_string_equal(dirty_err_name(rc), dirty_err_name(code));
    assert_int_equal(dirty_runtime_err(t->rt), code);
    if (strstr(dirty_runtime_errmsg(t->rt), words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, dirty_runtime_errmsg(t->rt));
    assert_int_equal(dirty_runtime_pid(t->rt), 0);
    assert_int_equal(dirty_runtime_alive(t->rt), 0);
}

static int call_at(const char *socket) {
    dirty_options o;
    dirty_client *c;
    dirty_reply *reply;
    dirty_options_init(&o);
    o.socket = socket;
    assert_int_equal(dirty_open(&c, &o), 0);
    int rc = dirty_callf(c, &reply, "apps.echo", "echo", "%s", "hello");
    dirty_reply_free(reply);
    dirty_free(c);
    return rc;
}

static int call(const own *t) {
    return call_at(dirty_runtime_socket(t->rt));
}

static bool log_has(const own *t, const char *words) {
    char text[16384];
    ssize_t n = pread(t->log_fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return strstr(text, words) != NULL;
}

/* -- Life --------------------------------------------------------------------------- */

static void it_serves_until_it_is_stopped(void **state) {
    own *t = *state;
    spawn(t);
    assert_string_equal(dirty_runtime_socket(t->rt), t->socket);
    assert_int_equal(dirty_runtime_alive(t->rt), 1);
    assert_int_equal(kill(dirty_runtime_pid(t->rt), 0), 0);
    assert_int_equal(call(t), 0);
    struct pollfd p = {.fd = dirty_runtime_fd(t->rt), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(dirty_runtime_stop(t->rt, 20000), 0);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(dirty_runtime_alive(t->rt), 0);
    assert_int_equal(dirty_runtime_pid(t->rt), 0);
    assert_int_equal(dirty_runtime_stop(t->rt, 20000), 0);
    assert_int_equal(call(t), DIRTY_ECONNECTION);
    assert_true(log_has(t, "stopping: finishing the accepted calls"));
}

static void note_outcome(dirty_async *a, dirty_outcome *outcome, void *arg) {
    (void)a;
    *(int *)arg = outcome->err;
}

/* Make a call that takes long, and return when the app runs, which says so. */
static dirty_async *call_for_long(const own *t, int *err) {
    dirty_async_options o;
    dirty_async *a;
    dirty_request *r;
    dirty_async_options_init(&o);
    o.client.socket = t->socket;
    assert_int_equal(dirty_async_open(&a, &o), 0);
    assert_int_equal(dirty_request_new(&r, "slow", "nap"), 0);
    assert_int_equal(dirty_async_call(a, r, note_outcome, err, NULL), 0);
    for (int i = 0; i < 2000 && !log_has(t, "napping"); i++) {
        struct pollfd p = {.fd = dirty_async_fd(a), .events = POLLIN};
        poll(&p, 1, 10);
        dirty_async_ready(a);
    }
    return a;
}

static void a_stop_takes_no_longer_than_it_may(void **state) {
    own *t = *state;
    int err = 1;
    t->apps[0] = "slow";
    write_file(t, "slow.lua",
               "return { nap = function() io.stderr:write('napping\\n') "
               "os.execute('sleep 60') end }",
               0600);
    spawn(t);
    dirty_async *a = call_for_long(t, &err);
    assert_int_equal(dirty_runtime_stop(t->rt, 300), DIRTY_ETIMEOUT);
    assert_int_equal(dirty_runtime_err(t->rt), DIRTY_ETIMEOUT);
    assert_int_equal(dirty_runtime_alive(t->rt), 0);
    assert_true(log_has(t, "told to stop at once"));
    dirty_async_ready(a);
    assert_true(err < 0);
    dirty_async_free(a);
    assert_int_equal(dirty_runtime_stop(t->rt, 300), 0);
    assert_string_equal(dirty_runtime_errmsg(t->rt), "");
}

static void it_is_found_to_have_ended(void **state) {
    own *t = *state;
    spawn(t);
    kill(dirty_runtime_pid(t->rt), SIGKILL);
    struct pollfd p = {.fd = dirty_runtime_fd(t->rt), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(dirty_runtime_alive(t->rt), 0);
}

static void the_socket_is_told_as_a_whole_path(void **state) {
    own *t = *state;
    t->o.directory = t->dir;
    t->o.socket = "s";
    write_file(t, "slow.lua", "return { nap = function() return 1 end }", 0600);
    t->apps[0] = "slow";
    spawn(t);
    assert_string_equal(dirty_runtime_socket(t->rt), t->socket);
}

static void freeing_ends_it(void **state) {
    own *t = *state;
    spawn(t);
    dirty_runtime_free(t->rt);
    t->rt = NULL;
    assert_int_equal(call_at(t->socket), DIRTY_ECONNECTION);
}

static void *spawn_in_thread(void *arg) {
    spawn(arg);
    return NULL;
}

static void the_thread_that_spawned_may_end(void **state) {
    own *t = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, spawn_in_thread, t), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(call(t), 0);
        poll(NULL, 0, 5);
    }
    assert_int_equal(dirty_runtime_alive(t->rt), 1);
}

static void a_forked_process_lets_it_be(void **state) {
    own *t = *state;
    int status;
    spawn(t);
    pid_t child = fork();
    if (child == 0) {
        int rc = dirty_runtime_stop(t->rt, 1000);
        bool told = rc == DIRTY_EINVALID && !dirty_runtime_alive(t->rt);
        dirty_runtime_free(t->rt);
        _exit(told ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(dirty_runtime_alive(t->rt), 1);
    assert_int_equal(call(t), 0);
}

/* -- This program's own affairs ----------------------------------------------------- */

static void its_signals_are_not_inherited(void **state) {
    own *t = *state;
    sigset_t all, old;
    char path[PATH_SIZE], text[4096];
    sigfillset(&all);
    sigdelset(&all, SIGALRM); /* which no harness may lose */
    pthread_sigmask(SIG_BLOCK, &all, &old);
    void (*usr1)(int) = signal(SIGUSR1, SIG_IGN);
    spawn(t);
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    assert_int_equal(sigismember(&now, SIGTERM), 1); /* ours are as they were */
    snprintf(path, sizeof path, "/proc/%d/status", dirty_runtime_pid(t->rt));
    FILE *f = fopen(path, "r");
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    /* The supervisor blocks what it waits for, and ignores SIGPIPE and SIGXFSZ. */
    unsigned long long blocked, ignored;
    assert_int_equal(sscanf(strstr(text, "SigBlk:"), "SigBlk: %llx", &blocked), 1);
    assert_int_equal(sscanf(strstr(text, "SigIgn:"), "SigIgn: %llx", &ignored), 1);
    assert_int_equal(blocked >> (SIGWINCH - 1) & 1, 0);
    ignored &= (1ull << 31) - 1; /* of the two above glibc says nothing to programs */
    assert_int_equal(ignored, 1ull << (SIGPIPE - 1) | 1ull << (SIGXFSZ - 1));
    assert_int_equal(dirty_runtime_stop(t->rt, 20000), 0); /* TERM gets through */
    signal(SIGUSR1, usr1);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static atomic_int sigchlds;

static void count_sigchld(int number) {
    (void)number;
    atomic_fetch_add(&sigchlds, 1);
}

static void a_handler_of_sigchld_hears_of_its_end_alone(void **state) {
    own *t = *state;
    struct sigaction ours = {.sa_handler = count_sigchld}, old, after;
    sigaction(SIGCHLD, &ours, &old);
    atomic_store(&sigchlds, 0);
    spawn(t);
    assert_int_equal(call(t), 0);
    assert_int_equal(atomic_load(&sigchlds), 0);
    sigaction(SIGCHLD, NULL, &after);
    assert_true(after.sa_handler == count_sigchld);
    assert_int_equal(dirty_runtime_stop(t->rt, 20000), 0);
    assert_int_equal(atomic_load(&sigchlds), 1);
    sigaction(SIGCHLD, &old, NULL);
}

static void it_works_where_sigchld_is_ignored(void **state) {
    own *t = *state;
    void (*old)(int) = signal(SIGCHLD, SIG_IGN);
    spawn(t);
    assert_int_equal(call(t), 0);
    assert_int_equal(dirty_runtime_stop(t->rt, 20000), 0);
    dirty_runtime_free(t->rt);
    write_file(t, "broken.lua", "error 'no model here'", 0600);
    t->apps[0] = "broken";
    expect_failure(t, DIRTY_EAPP, "no model here"); /* though the status is lost */
    signal(SIGCHLD, old);
}

static atomic_bool reaping;

static void *reap_everything(void *arg) {
    (void)arg;
    while (atomic_load(&reaping)) {
        waitpid(-1, NULL, WNOHANG);
        poll(NULL, 0, 1);
    }
    return NULL;
}

static void it_works_where_others_reap(void **state) {
    own *t = *state;
    pthread_t thread;
    atomic_store(&reaping, true);
    assert_int_equal(pthread_create(&thread, NULL, reap_everything, NULL), 0);
    spawn(t);
    assert_int_equal(dirty_runtime_stop(t->rt, 20000), 0);
    atomic_store(&reaping, false);
    pthread_join(thread, NULL);
}

static void it_has_none_of_our_descriptors(void **state) {
    own *t = *state;
    char path[PATH_SIZE], target[PATH_SIZE];
    int fds[2];
    assert_int_equal(pipe(fds), 0); /* not closed on exec */
    spawn(t);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fds[0]);
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n] = '\0';
    for (int fd = 0; fd < 100; fd++) {
        char theirs[PATH_SIZE];
        snprintf(path, sizeof path, "/proc/%d/fd/%d", dirty_runtime_pid(t->rt), fd);
        n = readlink(path, theirs, sizeof theirs - 1);
        theirs[n > 0 ? n : 0] = '\0';
        assert_string_not_equal(theirs, target);
    }
    close(fds[0]);
    close(fds[1]);
}

static int in_a_child(void (*run)(own *t), own *t) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        run(t);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void spawn_and_call(own *t) {
    if (dirty_spawn(&t->rt, &t->o) < 0 || call(t) < 0)
        _exit(1);
    dirty_runtime_free(t->rt);
}

static void spawn_without_stdio(own *t) {
    close(0);
    close(1);
    close(2);
    t->o.log_fd = -1;
    spawn_and_call(t);
}

static void it_works_without_stdio(void **state) {
    own *t = *state;
    assert_int_equal(in_a_child(spawn_without_stdio, t), 0);
}

#define NO_FILTER 77

/* What a container's filter of system calls, or valgrind, can make of a kernel. */
static void without_signals_by_pidfd(own *t) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_send_signal, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        _exit(NO_FILTER);
    if (dirty_spawn(&t->rt, &t->o) < 0 || dirty_runtime_stop(t->rt, 20000) != 0)
        _exit(1);
    dirty_runtime_free(t->rt);
}

static void it_is_stopped_where_a_pidfd_takes_no_signal(void **state) {
    own *t = *state;
    int status = in_a_child(without_signals_by_pidfd, t);
    if (status == NO_FILTER << 8) {
        print_message("no filter of system calls can be had here\n");
        skip();
    }
    assert_int_equal(status, 0);
    assert_true(log_has(t, "stopping: finishing the accepted calls"));
}

/* A socket such as a service manager listens on; its name goes to `name`. */
static int listen_for_notes(char name[32]) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int len = snprintf(name, 32, "@dirty-spawn-%d", (int)getpid());
    memcpy(address.sun_path, name, (size_t)len);
    address.sun_path[0] = '\0';
    len += (int)offsetof(struct sockaddr_un, sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, (socklen_t)len), 0);
    return fd;
}

static void it_does_not_speak_to_our_service_manager(void **state) {
    own *t = *state;
    char name[32], byte;
    int listener = listen_for_notes(name);
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", "1000000", 1);
    spawn(t);
    dirty_runtime_stop(t->rt, 20000);
    assert_string_equal(getenv("NOTIFY_SOCKET"), name);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    assert_int_equal(recv(listener, &byte, 1, MSG_DONTWAIT), -1);
    close(listener);
}

/* -- Failures ----------------------------------------------------------------------- */

static void no_such_program(void **state) {
    own *t = *state;
    t->o.program = "/nonexistent/dirty";
    expect_failure(t, DIRTY_EINVALID, "/nonexistent/dirty");
    dirty_runtime_free(t->rt);
    t->o.program = "no-such-command-dirty";
    expect_failure(t, DIRTY_EINVALID, "$PATH");
    dirty_runtime_free(t->rt);
    t->o.program = t->program;
    t->o.directory = "/nonexistent";
    expect_failure(t, DIRTY_EINVALID, "/nonexistent");
}

static void a_program_that_is_another(void **state) {
    own *t = *state;
    char script[PATH_SIZE];
    t->o.program = "/bin/false";
    expect_failure(t, DIRTY_ENO_WORKERS, "exit status 1");
    dirty_runtime_free(t->rt);
    t->o.program = "/bin/true";
    expect_failure(t, DIRTY_EINVALID, "the runtime ended at once");
    dirty_runtime_free(t->rt);
    snprintf(script, sizeof script, "%s/script", t->dir);
    write_file(t, "script", "#!/bin/sh\nkill -KILL $$\n", 0700);
    t->o.program = script;
    expect_failure(t, DIRTY_ENO_WORKERS, "SIGKILL");
}

static void a_configuration_that_is_wrong(void **state) {
    own *t = *state;
    char config[PATH_SIZE];
    snprintf(config, sizeof config, "%s/c.lua", t->dir);
    write_file(t, "c.lua", "wrokers = 2\n", 0600);
    t->o.config = config;
    expect_failure(t, DIRTY_EINVALID, "did you mean 'workers'");
    dirty_runtime_free(t->rt);
    t->o.config = NULL;
    t->args[0] = "--wokers";
    expect_failure(t, DIRTY_EINVALID, "'--wokers'");
    dirty_runtime_free(t->rt);
    t->args[0] = "--workers";
    t->args[1] = "0";
    expect_failure(t, DIRTY_EINVALID, "disabled");
}

static void an_app_that_does_not_start(void **state) {
    own *t = *state;
    t->apps[0] = "broken";
    write_file(t, "broken.lua", "local x = nil\nx.y = 1\n", 0600);
    expect_failure(t, DIRTY_EAPP, "broken.lua:2: attempt to index");
    dirty_runtime_free(t->rt);
    write_file(t, "broken.lua",
               "return { init = function() error('the model is missing') end }", 0600);
    expect_failure(t, DIRTY_EAPP, "the model is missing");
}

static void a_socket_that_is_taken(void **state) {
    own *t = *state;
    spawn(t);
    own second = *t;
    expect_failure(&second, DIRTY_ECONNECTION, t->socket);
    assert_null(strstr(dirty_runtime_errmsg(second.rt), "msg="));
    dirty_runtime_free(second.rt);
    assert_int_equal(call(t), 0);
}

static void a_start_that_takes_too_long(void **state) {
    own *t = *state;
    t->apps[0] = "slow";
    write_file(t, "slow.lua",
               "return { init = function() io.stderr:write('I wait\\n') "
               "os.execute('sleep 100') end }",
               0600);
    t->o.start_timeout_ms = 700;
    expect_failure(t, DIRTY_ETIMEOUT, "within 700 ms");
    dirty_runtime_free(t->rt);
    t->o.start_timeout_ms = 0;
    expect_failure(t, DIRTY_EINVALID, "start_timeout_ms");
}

static void a_null_runtime_is_no_memory(void **state) {
    (void)state;
    assert_int_equal(dirty_runtime_err(NULL), DIRTY_EMEMORY);
    assert_string_equal(dirty_runtime_errmsg(NULL), "out of memory");
    assert_int_equal(dirty_runtime_alive(NULL), 0);
    assert_int_equal(dirty_runtime_stop(NULL, 0), DIRTY_EINVALID);
    assert_int_equal(dirty_runtime_fd(NULL), -1);
    dirty_runtime_free(NULL);
}

/* -- With the clients of its own ------------------------------------------------------
 */

enum { OP_RUNTIME, OP_CLIENT, OP_STREAM, OP_ASYNC, OPS };

typedef struct all_of_it {
    own *t;
    dirty_client *client;
    dirty_stream *stream; /* in the midst */
    int stream_end;       /* what it said last */
    dirty_async *async;   /* with a call that waits for the stream's lane */
    int async_ends, async_err;
} all_of_it;

static void note_end(dirty_async *a, dirty_outcome *o, void *arg) {
    all_of_it *all = arg;
    (void)a;
    all->async_ends++;
    all->async_err = o->err;
}

static void begin_all(all_of_it *all) {
    dirty_options o;
    dirty_async_options ao;
    dirty_request *r;
    dirty_reply *chunk;
    spawn(all->t);
    dirty_options_init(&o);
    dirty_async_options_init(&ao);
    o.socket = ao.client.socket = dirty_runtime_socket(all->t->rt);
    assert_int_equal(dirty_open(&all->client, &o), 0);
    assert_int_equal(dirty_request_new(&r, "apps.echo", "count"), 0);
    dirty_request_addf(r, "%d", 1000000000);
    assert_int_equal(dirty_stream_open(all->client, r, &all->stream), 0);
    dirty_request_free(r);
    assert_int_equal(dirty_stream_next(all->stream, &chunk), 1);
    dirty_reply_free(chunk);
    assert_int_equal(dirty_async_open(&all->async, &ao), 0);
    assert_int_equal(dirty_request_new(&r, "apps.echo", "echo"), 0);
    assert_int_equal(dirty_async_call(all->async, r, note_end, all, NULL), 0);
    dirty_async_ready(all->async);
}

static void end_one(all_of_it *all, int op) {
    switch (op) {
    case OP_RUNTIME:
        dirty_runtime_free(all->t->rt);
        all->t->rt = NULL;
        break;
    case OP_CLIENT:
        dirty_free(all->client);
        all->client = NULL;
        break;
    case OP_STREAM:
        dirty_stream_close(all->stream);
        all->stream = NULL;
        break;
    default: dirty_async_free(all->async); all->async = NULL;
    }
}

/* What is left works as long as there is a runtime, and tells if there is none. */
static void use_what_is_left(all_of_it *all) {
    dirty_reply *reply;
    bool serves = all->t->rt != NULL;
    if (all->stream != NULL) {
        int rc = 1;
        for (int i = 0; rc == 1 && (i == 0 || !serves); i++) {
            rc = dirty_stream_next(all->stream, &reply);
            dirty_reply_free(reply);
        }
        if (all->stream_end < 0)
            assert_int_equal(rc, all->stream_end); /* the same again */
        else if (all->client == NULL)
            assert_int_equal(rc, DIRTY_EINVALID);
        else
            assert_true(serves ? rc == 1
                               : rc == DIRTY_ECONNECTION || rc == DIRTY_ESHUTDOWN);
        all->stream_end = rc;
    } else if (all->client != NULL) {
        int rc = dirty_callf(all->client, &reply, "apps.echo", "echo", "%d", 1);
        assert_int_equal(rc, serves ? 0 : DIRTY_ECONNECTION);
        dirty_reply_free(reply);
    }
    bool lane_is_free = all->stream == NULL || all->client == NULL;
    while (all->async != NULL && (!serves || lane_is_free) && all->async_ends == 0) {
        struct pollfd p = {.fd = dirty_async_fd(all->async), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
        dirty_async_ready(all->async);
    }
}

/* A third of the orders, with what is left used in between: each of the four is the first
 * of two. All orders of what is the client's are in test_free_order. */
static void it_ends_before_or_after_what_calls_it(void **state) {
    own *t = *state;
    for (int number = 0; number < 24; number += 3) {
        int left[OPS] = {OP_RUNTIME, OP_CLIENT, OP_STREAM, OP_ASYNC};
        all_of_it all = {.t = t};
        begin_all(&all);
        for (int n = OPS, rest = number; n > 0; n--) {
            int at = rest % n;
            rest /= n;
            end_one(&all, left[at]);
            left[at] = left[n - 1];
            use_what_is_left(&all);
        }
        assert_int_equal(all.async_ends, 1);
        assert_true(all.async_err == 0 || all.async_err == DIRTY_ECANCELLED ||
                    all.async_err == DIRTY_ECONNECTION ||
                    all.async_err == DIRTY_ESHUTDOWN);
    }
}

#define SPAWN_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv) {
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        SPAWN_TEST(it_serves_until_it_is_stopped),
        SPAWN_TEST(a_stop_takes_no_longer_than_it_may),
        SPAWN_TEST(it_is_found_to_have_ended),
        SPAWN_TEST(the_socket_is_told_as_a_whole_path),
        SPAWN_TEST(freeing_ends_it),
        SPAWN_TEST(it_ends_before_or_after_what_calls_it),
        SPAWN_TEST(the_thread_that_spawned_may_end),
        SPAWN_TEST(a_forked_process_lets_it_be),
        SPAWN_TEST(its_signals_are_not_inherited),
        SPAWN_TEST(a_handler_of_sigchld_hears_of_its_end_alone),
        SPAWN_TEST(it_works_where_sigchld_is_ignored),
        SPAWN_TEST(it_works_where_others_reap),
        SPAWN_TEST(it_has_none_of_our_descriptors),
        SPAWN_TEST(it_works_without_stdio),
        SPAWN_TEST(it_is_stopped_where_a_pidfd_takes_no_signal),
        SPAWN_TEST(it_does_not_speak_to_our_service_manager),
        SPAWN_TEST(no_such_program),
        SPAWN_TEST(a_program_that_is_another),
        SPAWN_TEST(a_configuration_that_is_wrong),
        SPAWN_TEST(an_app_that_does_not_start),
        SPAWN_TEST(a_socket_that_is_taken),
        SPAWN_TEST(a_start_that_takes_too_long),
        SPAWN_TEST(a_null_runtime_is_no_memory),
    };
    return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
