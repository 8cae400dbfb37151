/* runtime: dirty_spawn, and the life cycle of the runtime that it starts. */
#include "client/runtime.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/report.h"
#include "base/exit_status.h"
#include "client/alloc.h"
#include "client/runtime_error.h"

#define START_TIMEOUT_MS_DEFAULT 90000
/* How long the supervisor may take for an immediate stop before it is killed. */
#define FORCE_MS 8000
/* How long a killed process may take to disappear. */
#define KILLED_MS 5000
/* How long a process may take to exit after it has closed its lifeline. */
#define EXIT_MS 1000
/* Exit status of the child if its exec fails and posix_spawn did not notice. */
#define STATUS_NO_EXEC 127

/* -- Messages ------------------------------------------------------------------------ */

static void keep_said(dirty_runtime *rt, const char *text) {
    size_t room = sizeof rt->said - 1 - rt->said_len;
    size_t len = strnlen(text, room);
    memcpy(rt->said + rt->said_len, text, len);
    rt->said_len += len;
    rt->said[rt->said_len] = '\0';
}

static void hear(dirty_runtime *rt, const dirty_report *r) {
    switch (r->kind) {
    case DIRTY_REPORT_SAID: keep_said(rt, r->text); break;
    case DIRTY_REPORT_ENDED: rt->status = (int)r->within_ms; break;
    case DIRTY_REPORT_READY:
        rt->ready = true;
        snprintf(rt->socket, sizeof rt->socket, "%.*s", (int)sizeof rt->socket - 1,
                 r->text);
        break;
    default: break; /* of a newer runtime: ignored */
    }
}

/* Receive all messages that have arrived. False: no more will come. */
static bool hear_all(dirty_runtime *rt) {
    dirty_report r;
    int rc;
    while ((rc = dirty_report_take(rt->lifeline_fd, &r)) > 0)
        hear(rt, &r);
    return rc == 0;
}

/* -- End ----------------------------------------------------------------------------- */

/* Whether the process id is still the runtime's. The program may have reaped it, by
 * ignoring SIGCHLD or waiting for every child. Then the id may belong to another
 * process. */
static bool is_unreaped(const dirty_runtime *rt) {
    siginfo_t info;
    return waitid(P_PID, (id_t)rt->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Whether it can still be signalled and reaped. */
static bool is_child(const dirty_runtime *rt) {
    return rt->pid_fd >= 0 || is_unreaped(rt);
}

/* A system call filter may allow pidfd_open but not this call; valgrind does so. */
static bool signal_by_pidfd(const dirty_runtime *rt, int number) {
    return rt->pid_fd >= 0 &&
           (syscall(SYS_pidfd_send_signal, rt->pid_fd, number, NULL, 0) == 0 ||
            errno == ESRCH);
}

static void send_signal(const dirty_runtime *rt, int number) {
    if (!signal_by_pidfd(rt, number) && is_unreaped(rt))
        kill(rt->pid, number);
}

/* Reap it after its end of the lifeline was closed: it is about to end, or it is no
 * runtime. */
static void reap(dirty_runtime *rt) {
    siginfo_t info = {0};
    struct pollfd p = {.fd = rt->pid_fd, .events = POLLIN};
    idtype_t kind = rt->pid_fd >= 0 ? P_PIDFD : P_PID;
    id_t id = (id_t)(rt->pid_fd >= 0 ? rt->pid_fd : rt->pid);
    if (rt->pid_fd < 0 || poll(&p, 1, EXIT_MS) <= 0)
        send_signal(rt, SIGKILL);
    while (is_child(rt) && waitid(kind, id, &info, WEXITED) < 0 && errno == EINTR)
        continue;
    if (info.si_pid != 0)
        rt->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    rt->pid = 0;
}

/* Wait for its end. True if it has ended. */
static bool wait_end(dirty_runtime *rt, uint64_t until_ns) {
    struct pollfd p = {.fd = rt->lifeline_fd, .events = POLLIN};
    while (rt->pid != 0) {
        int n = poll(&p, 1, dirty_ms_until(until_ns, dirty_now_ns()));
        if (n > 0 && !hear_all(rt))
            reap(rt);
        else if (n == 0 || (n < 0 && errno != EINTR))
            return false;
    }
    return true;
}

static bool end_by(dirty_runtime *rt, int number, uint32_t within_ms) {
    if (rt->pid != 0)
        send_signal(rt, number);
    return wait_end(rt, dirty_now_ns() + within_ms * DIRTY_NS_PER_MS);
}

static void end_at_once(dirty_runtime *rt) {
    if (!end_by(rt, SIGQUIT, FORCE_MS))
        end_by(rt, SIGKILL, KILLED_MS);
}

static bool is_ours(const dirty_runtime *rt) {
    return rt->owner == getpid();
}

int dirty_runtime_stop(dirty_runtime *rt, uint32_t timeout_ms) {
    if (rt == NULL || !is_ours(rt))
        return DIRTY_EINVALID;
    dirty_runtime_fail(rt, DIRTY_OK, "%s", "");
    if (rt->pid == 0)
        return 0;
    if (timeout_ms > 0 && end_by(rt, SIGTERM, timeout_ms))
        return 0;
    end_at_once(rt);
    if (timeout_ms == 0)
        return 0;
    return dirty_runtime_fail(rt, DIRTY_ETIMEOUT,
                              "the runtime did not stop within %u ms and was stopped at "
                              "once: calls may have been cut off",
                              timeout_ms);
}

int dirty_runtime_alive(dirty_runtime *rt) {
    return rt != NULL && is_ours(rt) && !wait_end(rt, 1);
}

/* -- Start --------------------------------------------------------------------------- */

/* Wait until it serves or has ended. False: neither in time. */
static bool wait_ready(dirty_runtime *rt, uint64_t until_ns) {
    struct pollfd p = {.fd = rt->lifeline_fd, .events = POLLIN};
    while (!rt->ready && rt->pid != 0) {
        int n = poll(&p, 1, dirty_ms_until(until_ns, dirty_now_ns()));
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        if (n > 0 && !hear_all(rt))
            reap(rt);
    }
    return true;
}

/* The output of a failed start, as text. No message is received after that. */
static const char *said(dirty_runtime *rt) {
    char text[sizeof rt->said];
    dirty_runtime_error_text(rt->said, text, sizeof text);
    memcpy(rt->said, text, sizeof text);
    return rt->said[0] != '\0' ? rt->said : "it gave no reason";
}

static int explain_end(dirty_runtime *rt, const char *program) {
    switch (rt->status) {
    case DIRTY_EXIT_OK:
        return dirty_runtime_fail(rt, DIRTY_EINVALID, "the runtime ended at once: %s",
                                  said(rt));
    case DIRTY_EXIT_USAGE:
        return dirty_runtime_fail(rt, DIRTY_EINVALID,
                                  "the runtime refused its configuration: %s", said(rt));
    case DIRTY_EXIT_SOCKET:
        return dirty_runtime_fail(rt, DIRTY_ECONNECTION,
                                  "the runtime can't use its socket: %s", said(rt));
    case DIRTY_EXIT_BOOT:
        return dirty_runtime_fail(rt, DIRTY_EAPP, "an app did not start: %s", said(rt));
    case DIRTY_EXIT_INTERNAL:
        return dirty_runtime_fail(rt, DIRTY_EMEMORY, "the runtime did not start: %s",
                                  said(rt));
    case STATUS_NO_EXEC:
        return dirty_runtime_fail(
            rt, DIRTY_EINVALID,
            "can't run %s (exit status 127); set the option program "
            "to the path of the command dirty: %s",
            program, said(rt));
    default: break;
    }
    char how[40] = "for an unknown reason";
    if (rt->status > 128)
        snprintf(how, sizeof how, "by SIG%s", sigabbrev_np(rt->status - 128));
    else if (rt->status >= 0)
        snprintf(how, sizeof how, "with exit status %d", rt->status);
    return dirty_runtime_fail(rt, DIRTY_ENO_WORKERS, "%s ended before it served, %s: %s",
                              program, how, said(rt));
}

static int start(dirty_runtime *rt, const dirty_spawn_options *o) {
    uint64_t until_ns = dirty_now_ns() + o->start_timeout_ms * DIRTY_NS_PER_MS;
    if (o->start_timeout_ms == 0)
        return dirty_runtime_fail(rt, DIRTY_EINVALID,
                                  "start_timeout_ms is 0: must be at least 1");
    int rc = dirty_runtime_launch(rt, o);
    if (rc < 0)
        return rc;
    bool in_time = wait_ready(rt, until_ns);
    if (rt->ready)
        return 0;
    if (!in_time)
        end_at_once(rt);
    if (in_time)
        return explain_end(rt, o->program != NULL ? o->program : "dirty");
    return dirty_runtime_fail(rt, DIRTY_ETIMEOUT,
                              "the runtime did not start within %u ms and was stopped; "
                              "raise start_timeout_ms, or see what its apps wait for: %s",
                              o->start_timeout_ms, said(rt));
}

/* -- Handle ------------------------------------------------------------------------- */

void dirty_spawn_options_init(dirty_spawn_options *options) {
    *options =
        (dirty_spawn_options){.log_fd = -1, .start_timeout_ms = START_TIMEOUT_MS_DEFAULT};
}

int dirty_spawn(dirty_runtime **out, const dirty_spawn_options *options) {
    dirty_spawn_options defaults;
    dirty_runtime *rt = *out = dirty_realloc(NULL, sizeof *rt);
    if (rt == NULL)
        return DIRTY_EMEMORY;
    *rt =
        (dirty_runtime){.owner = getpid(), .pid_fd = -1, .lifeline_fd = -1, .status = -1};
    if (options == NULL) {
        dirty_spawn_options_init(&defaults);
        options = &defaults;
    }
    return start(rt, options);
}

void dirty_runtime_free(dirty_runtime *rt) {
    if (rt == NULL)
        return;
    if (is_ours(rt))
        dirty_runtime_stop(rt, 0);
    if (rt->lifeline_fd >= 0)
        close(rt->lifeline_fd);
    if (rt->pid_fd >= 0)
        close(rt->pid_fd);
    dirty_dealloc(rt);
}

const char *dirty_runtime_socket(const dirty_runtime *rt) {
    return rt == NULL ? "" : rt->socket;
}

int dirty_runtime_pid(const dirty_runtime *rt) {
    return rt == NULL ? 0 : (int)rt->pid;
}

int dirty_runtime_fd(const dirty_runtime *rt) {
    return rt == NULL ? -1 : rt->lifeline_fd;
}

int dirty_runtime_err(const dirty_runtime *rt) {
    return rt == NULL ? DIRTY_EMEMORY : rt->err;
}

const char *dirty_runtime_errmsg(const dirty_runtime *rt) {
    return rt == NULL ? "out of memory" : rt->message;
}
