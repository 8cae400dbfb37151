/* How a worker ended, for counters, the log and the callers that lost a call. */
#include "arbiter/worker.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "arbiter/app.h"
#include "base/clock.h"
#include "base/log.h"

static const char *const exit_names[WORKER_EXIT_REASONS] = {
    [WORKER_EXIT_DRAINED] = "drained", [WORKER_EXIT_BOOT] = "boot",
    [WORKER_EXIT_STATUS] = "status",   [WORKER_EXIT_SIGNAL] = "signal",
    [WORKER_EXIT_OOM] = "oom",         [WORKER_EXIT_TIMEOUT] = "timeout",
    [WORKER_EXIT_KILLED] = "killed",
};

const char *worker_exit_reason_name(int reason) {
    return exit_names[reason];
}

const char *worker_signal_name(int number, char *out, size_t size) {
    const char *abbrev = sigabbrev_np(number); /* real-time signals have no name */
    if (abbrev != NULL)
        snprintf(out, size, "SIG%s", abbrev);
    else
        snprintf(out, size, "SIG%d", number);
    return out;
}

static worker_exit_reason reason_of(const worker *w, int wait_status, bool drained) {
    arbiter *a = w->a;
    if (w->kill_reason != NULL)
        return strcmp(w->kill_reason, "TIMEOUT") == 0 ? WORKER_EXIT_TIMEOUT
                                                      : WORKER_EXIT_KILLED;
    if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL)
        return dirty_oom_take(&a->oom) ? WORKER_EXIT_OOM : WORKER_EXIT_SIGNAL;
    if (drained)
        return WORKER_EXIT_DRAINED;
    if (w->ready_ns == 0)
        return WORKER_EXIT_BOOT;
    return WIFSIGNALED(wait_status) ? WORKER_EXIT_SIGNAL : WORKER_EXIT_STATUS;
}

static void describe_exit(const worker *w, int wait_status, worker_exit_reason reason,
                          char *out, size_t size) {
    char name[16];
    if (WIFSIGNALED(wait_status))
        snprintf(out, size, "signal %d (%s)%s%s", WTERMSIG(wait_status),
                 worker_signal_name(WTERMSIG(wait_status), name, sizeof name),
                 reason == WORKER_EXIT_OOM ? ", likely the OOM killer"
                 : w->kill_reason          ? ", by the runtime: "
                                           : "",
                 w->kill_reason ? w->kill_reason : "");
    else
        snprintf(out, size, "exit status %d", WEXITSTATUS(wait_status));
}

static void log_exit(const worker *w, const char *how, bool expected) {
    const lane *at = NULL;
    for (uint32_t i = 0; i < w->lane_count && at == NULL; i++)
        if (w->lanes[i].busy)
            at = &w->lanes[i];
    unsigned long long up_ms = (dirty_now_ns() - w->spawned_ns) / DIRTY_NS_PER_MS;
    dirty_log_level level = expected ? DIRTY_LOG_INFO : DIRTY_LOG_WARN;
    if (at == NULL)
        dirty_log(level, "worker ended", "worker=%u worker_pid=%d how=%s up_ms=%llu",
                  w->number, (int)w->pid, DIRTY_LOG_QUOTE(how), up_ms);
    else
        dirty_log(
            level, "worker ended",
            "worker=%u worker_pid=%d how=%s up_ms=%llu app=%s action=%s "
            "run_ms=%llu caller_pid=%d",
            w->number, (int)w->pid, DIRTY_LOG_QUOTE(how), up_ms, at->app->name,
            DIRTY_LOG_QUOTE(at->action),
            (unsigned long long)((dirty_now_ns() - at->started_ns) / DIRTY_NS_PER_MS),
            (int)at->caller_pid);
}

void worker_exit_note(worker *w, int wait_status, bool expected) {
    w->wait_status = wait_status;
    w->exit_reason = reason_of(w, wait_status, expected);
    w->a->counters.exits[w->exit_reason]++;
    describe_exit(w, wait_status, w->exit_reason, w->how, sizeof w->how);
    log_exit(w, w->how, expected);
}
