#include "supervisor/subreaper.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "base/patience.h"
#include "supervisor/orphans.h"
#include "supervisor/sweep.h"

/* Interval of the search for what dead workers have left. No signal announces it. */
#define LOOK_MS 1000
/* Interval after something was found, because that may have left something too. */
#define LOOK_AGAIN_MS 20

/* The signal that the kernel sends us when the supervisor has ended. */
#define ORPHANED SIGUSR2

static const int passed_on[] = {SIGTERM, SIGINT,  SIGQUIT, SIGHUP,
                                SIGUSR1, SIGTTIN, SIGTTOU};

void dirty_subreaper_signals(sigset_t *out) {
    sigemptyset(out);
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
        sigaddset(out, passed_on[i]);
    sigaddset(out, SIGCHLD);
    sigaddset(out, ORPHANED);
}

static void close_descriptors(void) {
    int log_fd = dirty_log_fd();
    dirty_descriptors_close_but(&log_fd, 1);
}

/* Reopen the log first: it may have been rotated since the start. */
static void sweep(void) {
    dirty_log_reopen();
    unsigned count = dirty_sweep(DIRTY_SWEEP_MS);
    if (count > 0)
        dirty_log(DIRTY_LOG_INFO, "killed processes that the arbiter had left behind",
                  "processes=%u", count);
}

/* Reap all children that have ended. True if the arbiter is one of them, with its
 * status. */
static bool reap(pid_t arbiter, int *wait_status) {
    pid_t pid;
    while ((pid = waitpid(-1, wait_status, WNOHANG)) > 0)
        if (pid == arbiter)
            return true;
    return false;
}

static _Noreturn void end_with(int wait_status) {
    sweep();
    _exit(WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status)
                                   : WEXITSTATUS(wait_status));
}

/* Search for what dead workers have left, if it is time, and set the next time. Signals
 * do not delay it, however many come. */
static void look(pid_t arbiter, uint64_t *look_at_ns) {
    if (dirty_now_ns() < *look_at_ns)
        return;
    uint32_t next_ms = dirty_orphans_kill(arbiter) > 0 ? LOOK_AGAIN_MS : LOOK_MS;
    *look_at_ns = dirty_now_ns() + next_ms * DIRTY_NS_PER_MS;
}

/* The next of the blocked signals; -1 at `until_ns`. */
static int next_signal(uint64_t until_ns) {
    sigset_t awaited;
    uint64_t now_ns = dirty_now_ns();
    uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    const struct timespec wait = {.tv_sec = (time_t)(left_ns / (1000 * DIRTY_NS_PER_MS)),
                                  .tv_nsec = (long)(left_ns % (1000 * DIRTY_NS_PER_MS))};
    dirty_subreaper_signals(&awaited);
    return sigtimedwait(&awaited, NULL, &wait);
}

static _Noreturn void keep(pid_t arbiter, pid_t supervisor_pid) {
    uint64_t look_at_ns = dirty_now_ns() + LOOK_MS * DIRTY_NS_PER_MS;
    for (;;) {
        look(arbiter, &look_at_ns);
        dirty_patience_end();
        int wait_status, number = next_signal(look_at_ns);
        dirty_patience_begin(DIRTY_PATIENCE_MS);
        if (number == SIGCHLD) {
            if (reap(arbiter, &wait_status))
                end_with(wait_status);
        } else if (number == ORPHANED) {
            if (getppid() == supervisor_pid)
                continue; /* another process sent it */
            dirty_log_reopen();
            dirty_log_msg(DIRTY_LOG_ERROR, "the supervisor is gone: killing everything");
            sweep();
            _exit(0);
        } else if (number > 0) {
            kill(arbiter, number);
        }
    }
}

pid_t dirty_subreaper_run(pid_t supervisor_pid, void (*set_title)(const char *title)) {
    pid_t own = getpid();
    dirty_log_who("keeper");
    /* Leave the terminal: only the supervisor gets its signals, and a write to it never
     * stops us. */
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, ORPHANED);
    if (getppid() != supervisor_pid)
        _exit(0); /* it died before PR_SET_PDEATHSIG */
    pid_t arbiter = fork();
    if (arbiter == 0)
        return own;
    if (arbiter < 0) {
        dirty_log(DIRTY_LOG_ERROR, "the arbiter can't be started", "reason=%s",
                  DIRTY_LOG_QUOTE(strerror(errno)));
        _exit(DIRTY_SUBREAPER_NO_FORK);
    }
    set_title("dirty: keeper");
    close_descriptors();
    dirty_patience_init();
    keep(arbiter, supervisor_pid);
}
