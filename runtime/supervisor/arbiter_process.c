#include "supervisor/arbiter_process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/program.h"
#include "base/safe_file.h"
#include "supervisor/subreaper.h"
#include "supervisor/spawner.h"
#include "supervisor/sweep.h"

/* An arbiter that has served this long is stable: its death counts as the first in a
 * row. */
#define SETTLED_MS 10000
/* This many quick deaths in a row are followed by an immediate restart; then pauses
 * begin. */
#define QUICK_DEATHS 3
#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 10000

void arbiter_process_signal(const supervisor *s, int number) {
    if (s->subreaper > 0)
        kill(s->subreaper, number);
}

void arbiter_process_kill_after(supervisor *s, uint64_t ms) {
    s->kill_at_ns = dirty_now_ns() + ms * DIRTY_NS_PER_MS;
}

void arbiter_process_kill(supervisor *s, const char *reason) {
    s->kill_at_ns = 0;
    watchdog_stop(&s->watchdog);
    s->kill_reason = reason;
    s->hangs++;
    dirty_log(DIRTY_LOG_ERROR, "the arbiter hangs: killing it", "reason=%s hangs=%u",
              DIRTY_LOG_QUOTE(reason), s->hangs);
    arbiter_process_signal(s, SIGKILL); /* the subreaper; a sweep kills the rest */
}

/* -- Next start ---------------------------------------------------------------------- */

static uint32_t backoff_ms(unsigned quick_deaths) {
    if (quick_deaths <= QUICK_DEATHS)
        return 0;
    unsigned doublings = quick_deaths - QUICK_DEATHS - 1;
    return doublings > 6 ? BACKOFF_LAST_MS : BACKOFF_FIRST_MS << doublings;
}

static void plan_restart(supervisor *s) {
    uint64_t now_ns = dirty_now_ns();
    bool settled = s->serves && now_ns - s->ready_ns > SETTLED_MS * DIRTY_NS_PER_MS;
    s->quick_deaths = settled ? 1 : s->quick_deaths + 1;
    s->restarts++;
    uint32_t wait_ms = backoff_ms(s->quick_deaths);
    s->start_at_ns = now_ns + wait_ms * DIRTY_NS_PER_MS;
    dirty_log(DIRTY_LOG_WARN, "restarting the arbiter",
              "restarts=%u in_ms=%u quick_deaths=%u", s->restarts, wait_ms,
              s->quick_deaths);
    dirty_sd_notify_send(
        &s->sd_notify, "STATUS=The arbiter ended (%s), starting the next", s->last_exit);
}

/* -- Start of an arbiter ------------------------------------------------------------- */

/* How often the arbiter must report ALIVE: the shorter of systemd's interval and ours. */
static uint32_t report_ms(const supervisor *s) {
    uint32_t ours = watchdog_interval_ms(&s->watchdog), theirs = s->sd_notify.watchdog_ms;
    return ours == 0 || (theirs > 0 && theirs < ours) ? theirs : ours;
}

/* In the new process: drop what it must not have of ours, and reset the signals. */
static void become_arbiter(supervisor *s, const int *report, dirty_supervised *out) {
    sigset_t signals;
    setpgid(0, 0);
    dirty_log_who("arbiter");
    int rc = dirty_relay_enter(&s->relay);
    if (rc < 0) {
        dirty_log(DIRTY_LOG_ERROR, "the arbiter can't log through the supervisor",
                  "reason=%s", DIRTY_LOG_QUOTE(strerror(-rc)));
        _exit(DIRTY_EXIT_INTERNAL);
    }
    dirty_proc_mark(); /* marks what hooks start */
    dirty_endpoint_disown(&s->endpoint);
    dirty_sd_notify_close(&s->sd_notify);
    dirty_spawner_inherit(report[1]);
    close(s->signal_fd);
    close(report[0]);
    dirty_program_forget();
    if (s->upgrade.fd >= 0)
        close(s->upgrade.fd);
    dirty_subreaper_signals(&signals);
    for (int number = 1; number < 32; number++)
        if (sigismember(&signals, number) > 0)
            signal(number, SIG_DFL);
    signal(SIGALRM, SIG_DFL);
    sigemptyset(&signals);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    *out = (dirty_supervised){.listen_fd = s->endpoint.fd,
                              .socket_fd = s->endpoint.file_fd,
                              .report_fd = report[1],
                              .supervisor_pid = s->pid,
                              .restarts = s->restarts,
                              .hangs = s->hangs,
                              .waits = s->heir != HEIR_NONE && s->heir != HEIR_TOOK,
                              .lent = s->endpoint.lent,
                              .report_ms = report_ms(s)};
    snprintf(out->last_exit, sizeof out->last_exit, "%s", s->last_exit);
}

static void start_failed(supervisor *s, int rc) {
    dirty_log(DIRTY_LOG_ERROR, "the arbiter can't be started", "reason=%s",
              DIRTY_LOG_QUOTE(strerror(-rc)));
    if (s->phase == SERVING) {
        plan_restart(s);
        return;
    }
    s->status = DIRTY_EXIT_INTERNAL;
    s->done = true;
}

/* Create the channels between supervisor and arbiter. Returns 0, or -errno with nothing
 * created. */
static int open_channels(supervisor *s, int *report) {
    report[0] = report[1] = -1;
    int rc = dirty_safe_has_user() ? dirty_relay_open(&s->relay) : 0;
    if (rc == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) < 0) {
        rc = -errno;
        dirty_relay_close(&s->relay);
    }
    if (rc == 0)
        dirty_fdpass_refuse(report[0]);
    return rc;
}

bool arbiter_process_start(supervisor *s, dirty_supervised *out) {
    int report[2];
    s->listens = s->serves = s->socket_is_new = false;
    s->socket_told = s->endpoint.trouble[0] == '\0';
    s->upgrade.told = s->accept_due = s->reloads = false;
    s->born_ns = dirty_now_ns();
    int rc = open_channels(s, report);
    if (rc < 0) {
        start_failed(s, rc);
        return false;
    }
    pid_t subreaper = fork();
    if (subreaper == 0) {
        pid_t parent = dirty_subreaper_run(s->pid, s->o->set_title);
        become_arbiter(s, report, out);
        out->parent_pid = parent;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* until dirty_supervised_settle */
        return true;
    }
    int saved = errno;
    close(report[1]);
    dirty_relay_forked(&s->relay);
    if (subreaper < 0) {
        close(report[0]);
        dirty_relay_close(&s->relay);
        start_failed(s, -saved);
        return false;
    }
    s->subreaper = subreaper;
    s->report_fd = report[0];
    arbiter_process_kill_after(s, s->o->start_timeout_ms);
    dirty_log(DIRTY_LOG_INFO, "arbiter started", "keeper_pid=%d restarts=%u",
              (int)subreaper, s->restarts);
    return false;
}

int dirty_supervised_settle(const dirty_supervised *child,
                            const dirty_credentials *credentials) {
    int rc = dirty_credentials_take(credentials);
    if (rc < 0) {
        dirty_log(DIRTY_LOG_ERROR, "can't change to the configured user",
                  "uid=%lld gid=%lld reason=%s", (long long)credentials->uid,
                  (long long)credentials->gid, DIRTY_LOG_QUOTE(strerror(-rc)));
        return rc;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* last: a change of user resets it */
    if (getppid() == child->parent_pid)
        return 0;
    dirty_log_msg(DIRTY_LOG_ERROR, "the parent process is gone");
    return -ESRCH;
}

/* -- End of an arbiter --------------------------------------------------------------- */

/* The exit status of `dirty serve` after its arbiter ended with `code`. */
static int final_status(const supervisor *s, int code) {
    if (code < DIRTY_SUBREAPER_NO_FORK)
        return code;
    /* It was stopped before it handled TERM: that is a normal stop too. */
    if (code == 128 + SIGTERM && s->phase == STOPPING && !s->listens)
        return DIRTY_EXIT_OK;
    return DIRTY_EXIT_INTERNAL;
}

/* Evaluate the wait status of a subreaper. last_exit gets a description of how the
 * arbiter ended. Returns the exit status, or 128 + the signal number if a signal ended
 * either of them. */
static int explain_end(supervisor *s, int wait_status) {
    const char *who = WIFSIGNALED(wait_status) ? "subreaper: " : "";
    const char *reason = s->kill_reason;
    s->kill_reason = NULL;
    int code =
        WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    if (code < 128) {
        snprintf(s->last_exit, sizeof s->last_exit, "exit status %d", code);
        return code;
    }
    if (reason != NULL && code == 128 + SIGKILL) {
        snprintf(s->last_exit, sizeof s->last_exit, "killed: %s", reason);
        return code;
    }
    const char *name = sigabbrev_np(code - 128);
    snprintf(s->last_exit, sizeof s->last_exit, "%ssignal %d SIG%s", who, code - 128,
             name != NULL ? name : "?");
    return code;
}

void arbiter_process_gone(supervisor *s, int wait_status) {
    int code = explain_end(s, wait_status);
    s->subreaper = 0;
    s->kill_at_ns = 0;
    watchdog_stop(&s->watchdog);
    if (s->report_fd >= 0)
        close(s->report_fd);
    s->report_fd = -1;
    dirty_relay_pass(&s->relay); /* log its last lines before ours */
    bool good = code == DIRTY_EXIT_OK;
    dirty_log(good ? DIRTY_LOG_INFO : DIRTY_LOG_ERROR, "arbiter ended",
              "how=%s up_ms=%llu", DIRTY_LOG_QUOTE(s->last_exit),
              (unsigned long long)((dirty_now_ns() - s->born_ns) / DIRTY_NS_PER_MS));
    unsigned left = dirty_sweep(DIRTY_SWEEP_MS); /* finds some if the subreaper died */
    dirty_relay_close(&s->relay);
    if (left > 0)
        dirty_log(DIRTY_LOG_WARN, "killed processes that the arbiter had left behind",
                  "processes=%u", left);
    if (s->phase == SERVING && !good && !s->departs) {
        plan_restart(s);
        return;
    }
    s->status = final_status(s, code);
    s->done = true;
}
