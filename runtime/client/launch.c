/* launch: runs the command `dirty` as a child process. It uses posix_spawn, because a
 * program with threads may do almost nothing between fork and exec. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/lifeline.h"
#include "client/alloc.h"
#include "client/runtime.h"

/* Variables that a service manager set for this program. The runtime must not act on
 * them. */
static const char *const not_passed_on[] = {
    "NOTIFY_SOCKET", "WATCHDOG_USEC",  "WATCHDOG_PID",    "LISTEN_FDS",
    "LISTEN_PID",    "LISTEN_FDNAMES", DIRTY_LIFELINE_ENV};

typedef struct launch {
    const char **argv; /* owned, the strings are borrowed */
    const char **env;  /* owned, the strings are borrowed */
    char lifeline_env[sizeof DIRTY_LIFELINE_ENV + 16];
    int fds[2]; /* the lifeline: [0] ours, [1] the child's */
    int log_fd; /* -1: none */
} launch;

static const char *program_of(const dirty_spawn_options *o) {
    return o->program != NULL ? o->program : "dirty";
}

static size_t count(const char *const *list) {
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

/* -- Arguments and attributes -------------------------------------------------------- */

static void add_flag(const char **argv, size_t *at, const char *flag, const char *value) {
    if (value == NULL)
        return;
    argv[(*at)++] = flag;
    argv[(*at)++] = value;
}

static int make_argv(launch *l, const dirty_spawn_options *o) {
    size_t apps = count(o->apps), args = count(o->args), at = 0;
    l->argv = dirty_realloc(NULL, (7 + 2 * apps + args) * sizeof *l->argv);
    if (l->argv == NULL)
        return DIRTY_EMEMORY;
    l->argv[at++] = program_of(o);
    l->argv[at++] = "serve";
    add_flag(l->argv, &at, "--config", o->config);
    add_flag(l->argv, &at, "--socket", o->socket);
    for (size_t i = 0; i < apps; i++)
        add_flag(l->argv, &at, "--app", o->apps[i]);
    for (size_t i = 0; i < args; i++)
        l->argv[at++] = o->args[i];
    l->argv[at] = NULL;
    return 0;
}

static bool is_passed_on(const char *variable) {
    size_t len = strcspn(variable, "=");
    for (size_t i = 0; i < sizeof not_passed_on / sizeof *not_passed_on; i++)
        if (strlen(not_passed_on[i]) == len &&
            strncmp(variable, not_passed_on[i], len) == 0)
            return false;
    return true;
}

static int make_env(launch *l) {
    size_t at = 0;
    l->env =
        dirty_realloc(NULL, (count((const char *const *)environ) + 2) * sizeof *l->env);
    if (l->env == NULL)
        return DIRTY_EMEMORY;
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
        if (is_passed_on(*variable))
            l->env[at++] = *variable;
    snprintf(l->lifeline_env, sizeof l->lifeline_env, DIRTY_LIFELINE_ENV "=%d",
             (int)getpid());
    l->env[at++] = l->lifeline_env;
    l->env[at] = NULL;
    return 0;
}

/* Set what the child's descriptors are: stdio, the lifeline, and no other. */
static int set_actions(const launch *l, const dirty_spawn_options *o,
                       posix_spawn_file_actions_t *actions) {
    int rc = 0;
    if (o->directory != NULL)
        rc = posix_spawn_file_actions_addchdir_np(actions, o->directory);
    /* first the log: the actions below may reuse its number */
    if (rc == 0 && l->log_fd >= 0)
        rc = posix_spawn_file_actions_adddup2(actions, l->log_fd, STDERR_FILENO);
    if (rc == 0 && l->log_fd < 0)
        rc = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_RDWR,
                                              0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, STDERR_FILENO, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null",
                                              O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, l->fds[1], DIRTY_LIFELINE_FD);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(actions, DIRTY_LIFELINE_FD + 1);
    return rc;
}

/* Set the child's signals: none blocked, ignored or handled, whatever this thread has.
 * Give it a session of its own, so that only this program gets the terminal's signals. */
static int set_attributes(posix_spawnattr_t *attributes) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawnattr_setsigmask(attributes, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attributes, &all);
    if (rc == 0)
        rc = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK |
                                                      POSIX_SPAWN_SETSIGDEF |
                                                      POSIX_SPAWN_SETSID);
    return rc;
}

/* Returns 0 or an errno. */
static int spawn(const launch *l, const dirty_spawn_options *o, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0)
        return rc;
    rc = posix_spawnattr_init(&attributes);
    if (rc == 0) {
        rc = set_actions(l, o, &actions);
        if (rc == 0)
            rc = set_attributes(&attributes);
        if (rc == 0)
            rc = posix_spawnp(pid, program_of(o), &actions, &attributes,
                              (char *const *)(uintptr_t)l->argv,
                              (char *const *)(uintptr_t)l->env);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* -- Failures and preparation -------------------------------------------------------- */

static int explain_spawn(dirty_runtime *rt, const dirty_spawn_options *o, int error) {
    const char *program = program_of(o), *why = strerrordesc_np(error);
    struct stat st;
    if (o->directory != NULL && (stat(o->directory, &st) < 0 || !S_ISDIR(st.st_mode)))
        return dirty_runtime_fail(
            rt, DIRTY_EINVALID, "can't run %s in the directory %s: it is not a directory",
            program, o->directory);
    if ((error == ENOENT || error == EACCES) && strchr(program, '/') == NULL)
        return dirty_runtime_fail(rt, DIRTY_EINVALID,
                                  "can't run %s: no directory of $PATH has it (%s); "
                                  "install it, or set the option program to its path",
                                  program, why);
    if (error == ENOENT || error == EACCES || error == ENOEXEC)
        return dirty_runtime_fail(rt, DIRTY_EINVALID,
                                  "can't run %s: %s; set the option program to the path "
                                  "of the command dirty",
                                  program, why);
    return dirty_runtime_fail(rt, DIRTY_EMEMORY, "can't run %s: %s", program, why);
}

/* Duplicate `fd` to a number that the child does not use. Returns -1 with errno on
 * failure. */
static int copy_above(int fd) {
    return fcntl(fd, F_DUPFD_CLOEXEC, DIRTY_LIFELINE_FD + 1);
}

/* Create the lifeline. Neither end may get the number of a closed stdio in this program.
 * Returns 0 or -errno. */
static int make_lifeline(launch *l) {
    int fds[2], rc = 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        l->fds[i] = copy_above(fds[i]);
        if (l->fds[i] < 0)
            rc = -errno;
        close(fds[i]);
    }
    return rc;
}

/* Returns 0 or -errno; -EBADF: the log descriptor is bad. */
static int prepare(launch *l, const dirty_spawn_options *o) {
    if (make_argv(l, o) < 0 || make_env(l) < 0)
        return -ENOMEM;
    l->log_fd = copy_above(o->log_fd < 0 ? STDERR_FILENO : o->log_fd);
    if (l->log_fd < 0 && (errno != EBADF || o->log_fd >= 0))
        return -errno;
    return make_lifeline(l);
}

static void close_fd(int fd) {
    if (fd >= 0)
        close(fd);
}

static void clean_up(launch *l) {
    dirty_dealloc(l->argv);
    dirty_dealloc(l->env);
    close_fd(l->log_fd);
    close_fd(l->fds[0]);
    close_fd(l->fds[1]);
}

int dirty_runtime_launch(dirty_runtime *rt, const dirty_spawn_options *o) {
    launch l = {.fds = {-1, -1}, .log_fd = -1};
    pid_t pid = 0;
    int rc = prepare(&l, o);
    int failed = rc < 0 ? 0 : spawn(&l, o, &pid);
    if (rc < 0) {
        dirty_runtime_fail(rt, rc == -EBADF ? DIRTY_EINVALID : DIRTY_EMEMORY,
                           "can't start the runtime: %s%s", strerrordesc_np(-rc),
                           rc == -EBADF ? " (the option log_fd)" : "");
    } else if (failed != 0) {
        explain_spawn(rt, o, failed);
    } else {
        rt->pid = pid;
        rt->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
        rt->lifeline_fd = l.fds[0];
        l.fds[0] = -1;
    }
    clean_up(&l);
    return rt->err;
}
