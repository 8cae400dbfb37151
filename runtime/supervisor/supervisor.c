#include "supervisor/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/patience.h"
#include "base/pidfile.h"
#include "base/report.h"
#include "base/safe_file.h"
#include "supervisor/arbiter_process.h"
#include "supervisor/subreaper.h"
#include "supervisor/sd_notify.h"
#include "supervisor/inheritance.h"
#include "supervisor/spawner.h"
#include "supervisor/internal.h"

/* Extra time for an arbiter after the limit it asked for. Then it counts as hung. */
#define MARGIN_MS 5000
/* Interval of the checks of the socket's files. */
#define LOOK_MS 1000

/* -- Signals ------------------------------------------------------------------------- */

/* The phases follow each other in their order. */
static void set_phase(supervisor *s, phase to) {
    assert(to >= s->phase);
    s->phase = to;
}

static void stop(supervisor *s, int number) {
    bool at_once = number == SIGQUIT || s->stops > 0;
    s->stops++;
    dirty_log(DIRTY_LOG_INFO, at_once ? "told to stop at once" : "told to stop",
              "signal=SIG%s", sigabbrev_np(number));
    set_phase(s, STOPPING);
    upgrade_cancel(s, "the runtime was told to stop");
    watchdog_stop(&s->watchdog);
    if (s->subreaper == 0) {
        s->done = true;
        return;
    }
    /* While it boots, TERM has its default action and ends it at once. */
    arbiter_process_signal(s, at_once && s->listens ? SIGQUIT : SIGTERM);
    arbiter_process_kill_after(s, MARGIN_MS);
}

/* Pass a signal on to the arbiter. Signals that do not stop it wait until it handles
 * them. */
static void pass_on(supervisor *s, int number) {
    if (number == SIGHUP && s->subreaper == 0)
        s->start_at_ns = dirty_now_ns(); /* it reads the configuration at its start */
    else if (s->listens)
        arbiter_process_signal(s, number);
    else
        s->held |= 1u << number;
}

static void reap(supervisor *s);

/* Reopen the log here first: the other processes may not be allowed to create the
 * file. */
static void reopen_log(supervisor *s) {
    dirty_report r = {.kind = DIRTY_REPORT_LOG};
    int rc = dirty_log_reopen();
    if (rc < 0) {
        snprintf(r.text, sizeof r.text, "%s", dirty_safe_reason(rc));
        dirty_log(DIRTY_LOG_ERROR, "log file can't be reopened", "file=%s reason=%s",
                  DIRTY_LOG_QUOTE(dirty_log_path()), DIRTY_LOG_QUOTE(r.text));
    }
    if (s->report_fd >= 0)
        dirty_report_send(s->report_fd, &r);
}

static void on_signal(supervisor *s, int number) {
    switch (number) {
    case SIGCHLD: reap(s); break;
    case SIGTERM:
    case SIGINT:
    case SIGQUIT: stop(s, number); break;
    case SIGUSR1:
        reopen_log(s);
        pass_on(s, number);
        break;
    case SIGUSR2: upgrade_begin(s, 0); break;
    case SIGHUP:
        if (upgrade_runs(s))
            dirty_log_msg(DIRTY_LOG_WARN, "not reloaded: an upgrade is running, and the "
                                          "new runtime reads the configuration");
        else
            pass_on(s, number);
        break;
    case SIGTTIN:
    case SIGTTOU: pass_on(s, number); break;
    default: break; /* the mask has no others */
    }
}

static void read_signals(supervisor *s) {
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        on_signal(s, (int)info.ssi_signo);
}

/* -- Taking over --------------------------------------------------------------------- */

/* Write the pidfile, because somebody may wait for it. After a failure (for instance a
 * full disk) it is tried again with each ALIVE of the arbiter. */
static void write_pidfile(supervisor *s) {
    int rc = s->o->pidfile ? dirty_pidfile_write(&s->pidfile, s->o->pidfile, s->pid) : 0;
    bool was_due = s->pidfile_due;
    s->pidfile_due = rc < 0;
    if (rc < 0 && !was_due)
        dirty_log(DIRTY_LOG_ERROR, "pidfile can't be written", "path=%s reason=%s",
                  DIRTY_LOG_QUOTE(s->o->pidfile), DIRTY_LOG_QUOTE(dirty_safe_reason(rc)));
}

/* Whether another supervisor serves at our socket, or has until it ended. */
static bool is_heir(const supervisor *s) {
    return s->heir == HEIR_WAITS || s->heir == HEIR_READY || s->heir == HEIR_ALONE;
}

static void tell_ready(supervisor *s) {
    dirty_sd_notify_send(&s->sd_notify, "READY=1\nMAINPID=%d\nSTATUS=Serving: %s",
                         (int)s->pid, s->ready_text);
}

/* The log line comes last: whoever waits for it can rely on the rest. */
static void serve(supervisor *s) {
    if (s->phase == STARTING) {
        set_phase(s, SERVING);
        write_pidfile(s);
    }
    dirty_spawner_ready(s->o->socket.path);
    tell_ready(s);
    dirty_log(DIRTY_LOG_INFO, "ready", "%s restarts=%u", s->ready_text, s->restarts);
}

/* The files of the socket are ours from here on. */
static void take_over(supervisor *s) {
    bool alone = s->heir == HEIR_ALONE;
    s->endpoint.lent = dirty_inheritance_get()->lent;
    s->look_at_ns = dirty_now_ns();
    s->accept_due = true;
    s->heir = alone ? HEIR_NONE : HEIR_TOOK;
    s->sd_notify.muted = !alone;
    dirty_spawner_taken();
    serve(s);
}

/* The supervisor before us says GO, or has ended. */
static void hear_predecessor(supervisor *s) {
    int heard;
    while ((heard = dirty_spawner_hear()) > 0)
        if (heard == DIRTY_REPORT_GO && s->heir == HEIR_READY && s->phase == STARTING)
            take_over(s);
    if (heard == 0)
        return;
    if (s->heir == HEIR_TOOK) {
        s->heir = HEIR_NONE;
        s->sd_notify.muted = false;
        tell_ready(s);
        return;
    }
    dirty_log_msg(DIRTY_LOG_WARN,
                  "the runtime that is to be upgraded is gone: taking its place");
    bool ready = s->heir == HEIR_READY;
    s->heir = HEIR_ALONE;
    if (ready && s->phase == STARTING)
        take_over(s);
}

/* Send the arbiter the orders that have not reached it. */
static void give_orders(supervisor *s) {
    dirty_report accept = {.kind = DIRTY_REPORT_ACCEPT},
                 depart = {.kind = DIRTY_REPORT_DEPART};
    if (s->report_fd < 0 || !s->listens)
        return;
    if (s->accept_due && dirty_report_send(s->report_fd, &accept) == 0)
        s->accept_due = false;
    if (s->departs && !s->depart_told && dirty_report_send(s->report_fd, &depart) == 0) {
        s->depart_told = true;
        s->sd_notify.muted = true;
    }
}

/* -- Reports ------------------------------------------------------------------------- */

static void on_started(supervisor *s, uint32_t within_ms) {
    s->listens = true;
    s->boot_within_ms = within_ms;
    if (s->phase != STOPPING) {
        arbiter_process_kill_after(s, (uint64_t)within_ms + MARGIN_MS);
        watchdog_start(&s->watchdog, dirty_now_ns());
    }
    for (int number = 1; number < 32; number++)
        if (s->held >> number & 1)
            arbiter_process_signal(s, number);
    s->held = 0;
}

static void on_ready(supervisor *s, const dirty_report *r) {
    dirty_log_echo(false); /* whoever watched the start may be gone */
    s->serves = true;
    s->ready_ns = dirty_now_ns();
    snprintf(s->ready_text, sizeof s->ready_text, "%.900s arbiter_pid=%d", r->text,
             r->pid);
    if (s->phase != STOPPING)
        s->kill_at_ns = 0;
    if (s->phase == STOPPING || s->heir == HEIR_NONE || s->heir == HEIR_TOOK) {
        serve(s);
    } else if (s->heir == HEIR_ALONE) {
        take_over(s);
    } else {
        s->heir = HEIR_READY;
        dirty_spawner_ready(s->o->socket.path);
    }
}

static void on_stopping(supervisor *s, uint32_t within_ms) {
    set_phase(s, STOPPING);
    upgrade_cancel(s, "the runtime was told to stop");
    watchdog_stop(&s->watchdog); /* the rest has a limit of its own */
    arbiter_process_kill_after(s, (uint64_t)within_ms + MARGIN_MS);
    dirty_sd_notify_send(&s->sd_notify, "STOPPING=1\nSTATUS=Stopping");
    /* Close the socket first: new callers are refused now, not after the last answer. */
    dirty_endpoint_close(&s->endpoint);
}

static void on_report(supervisor *s, const dirty_report *r) {
    switch ((dirty_report_kind)r->kind) {
    case DIRTY_REPORT_STARTED: on_started(s, r->within_ms); break;
    case DIRTY_REPORT_READY: on_ready(s, r); break;
    case DIRTY_REPORT_RELOADING:
        s->reloads = true;
        dirty_sd_notify_send(&s->sd_notify,
                             "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reloading",
                             (unsigned long long)(dirty_now_ns() / 1000));
        break;
    case DIRTY_REPORT_RELOADED:
        s->reloads = false;
        dirty_sd_notify_send(&s->sd_notify, "READY=1\nSTATUS=%s", r->text);
        break;
    case DIRTY_REPORT_STOPPING: on_stopping(s, r->within_ms); break;
    case DIRTY_REPORT_REOPEN: on_signal(s, SIGUSR1); break;
    case DIRTY_REPORT_ALIVE:
        if (s->pidfile_due)
            write_pidfile(s);
        if (s->sd_notify.watchdog_ms > 0)
            dirty_sd_notify_beat(&s->sd_notify);
        break;
    case DIRTY_REPORT_SAID: dirty_spawner_pass_on(r->text); break;
    case DIRTY_REPORT_LISTENS:
        s->socket_told = true;
        s->socket_is_new = false;
        break;
    case DIRTY_REPORT_LEVEL:
        dirty_log_set_level_name(r->text); /* the next arbiter inherits it */
        break;
    case DIRTY_REPORT_UPGRADE: upgrade_begin(s, r->within_ms); break;
    case DIRTY_REPORT_ENDED:
    case DIRTY_REPORT_SOCKET:
    case DIRTY_REPORT_LOG:
    case DIRTY_REPORT_ACCEPT:
    case DIRTY_REPORT_DEPART:
    case DIRTY_REPORT_UPGRADES: break; /* only we send it */
    case DIRTY_REPORT_HELLO:
    case DIRTY_REPORT_GO:
    case DIRTY_REPORT_TAKEN: break; /* between supervisors */
    }
}

/* Replace control characters: the text becomes part of a log line and of a message to the
 * service manager. */
static void make_one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20)
            *text = ' ';
}

/* The arbiter is gone. Its subreaper must end as well, as soon as it has swept. */
static void end_reports(supervisor *s) {
    uint64_t until_ns = dirty_now_ns() + (DIRTY_SWEEP_MS + MARGIN_MS) * DIRTY_NS_PER_MS;
    close(s->report_fd);
    s->report_fd = -1;
    watchdog_stop(&s->watchdog);
    s->kill_at_ns = dirty_earlier_ns(s->kill_at_ns, until_ns);
}

static void read_reports(supervisor *s) {
    dirty_report r;
    int rc;
    while ((rc = s->report_fd < 0 ? 0 : dirty_report_take(s->report_fd, &r)) > 0) {
        if (r.kind != DIRTY_REPORT_SAID)
            make_one_line(r.text);
        watchdog_heard(&s->watchdog);
        on_report(s, &r);
    }
    if (rc < 0)
        end_reports(s);
}

/* -- The socket's files -------------------------------------------------------------- */

/* Send the arbiter the state of the socket, until it confirms it. */
static void tell_socket(supervisor *s) {
    dirty_report r = {.kind = DIRTY_REPORT_SOCKET, .within_ms = s->socket_is_new};
    if (s->socket_told || s->report_fd < 0 || !s->listens || s->endpoint.fd < 0)
        return;
    const int passed[] = {s->endpoint.fd, s->endpoint.file_fd};
    snprintf(r.text, sizeof r.text, "%s", s->endpoint.trouble);
    dirty_report_send_with(s->report_fd, &r, passed, s->socket_is_new ? 2 : 0);
}

/* Check the socket's files. After we have bound a new socket the arbiter gets it too. The
 * arbiter accepts the callers that wait at the former one before it closes that. */
static void look_at_socket(supervisor *s) {
    char before[sizeof s->endpoint.trouble];
    uint64_t now_ns = dirty_now_ns();
    int former;
    if (now_ns < s->look_at_ns || s->departs || is_heir(s))
        return;
    s->look_at_ns = now_ns + LOOK_MS * DIRTY_NS_PER_MS;
    memcpy(before, s->endpoint.trouble, sizeof before);
    if (dirty_endpoint_look(&s->endpoint, &former)) {
        close(former);
        upgrade_cancel(s, "the socket's file was removed, and had to be made again");
        s->socket_is_new = true;
        s->socket_told = false;
    }
    if (strcmp(before, s->endpoint.trouble) != 0)
        s->socket_told = false;
    tell_socket(s);
}

/* -- Life cycle ---------------------------------------------------------------------- */

/* Reap our children. Normally a subreaper is the only one. Orphans come here only after a
 * subreaper was killed. */
static void reap(supervisor *s) {
    pid_t pid;
    int wait_status;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0)
        if (pid == s->subreaper) {
            s->subreaper = 0; /* the id is free now */
            read_reports(s);
            arbiter_process_gone(s, wait_status);
            return;
        } else {
            upgrade_reaped(s, pid, wait_status);
        }
}

static const char *why_late(const supervisor *s) {
    if (s->report_fd < 0)
        return "it is gone, but its subreaper does not end";
    return s->phase == STOPPING ? "it did not stop in time" : "it did not start in time";
}

static void kill_hanging(supervisor *s) {
    uint64_t now_ns = dirty_now_ns();
    if (s->subreaper > 0 && s->kill_at_ns > 0 && now_ns >= s->kill_at_ns)
        arbiter_process_kill(s, why_late(s));
    else if (s->subreaper > 0 && watchdog_check(&s->watchdog, now_ns))
        arbiter_process_kill(s, "it sent no heartbeat for arbiter_timeout");
}

static int open_signals(supervisor *s) {
    sigset_t signals;
    dirty_subreaper_signals(&signals);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log at its size limit must not end us */
    s->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signal_fd < 0 ? -errno : 0;
}

/* Send WATCHDOG=1 while no arbiter's loop runs. Restart pauses and start_timeout are
 * enforced by us, so the service manager should not kill us for them. */
static void tell_watchdog(supervisor *s) {
    uint64_t now_ns = dirty_now_ns();
    if (s->sd_notify.watchdog_ms == 0 || (s->subreaper > 0 && s->listens)) {
        s->tell_at_ns = 0;
    } else if (now_ns >= s->tell_at_ns) {
        s->tell_at_ns = now_ns + s->sd_notify.watchdog_ms * DIRTY_NS_PER_MS;
        dirty_sd_notify_beat(&s->sd_notify);
    }
}

static uint64_t next_ns(const supervisor *s) {
    uint64_t own_ns = s->subreaper == 0
                          ? s->start_at_ns
                          : dirty_earlier_ns(s->kill_at_ns, s->watchdog.look_at_ns);
    uint64_t look_at_ns = s->departs || is_heir(s) ? 0 : s->look_at_ns;
    own_ns = dirty_earlier_ns(own_ns, s->upgrade.end_at_ns);
    return dirty_earlier_ns(dirty_earlier_ns(own_ns, s->tell_at_ns),
                            dirty_earlier_ns(s->sd_notify.again_at_ns, look_at_ns));
}

static void wait_for_events(supervisor *s) {
    enum {
        RELAYED = 3,
        SPAWNER = RELAYED + DIRTY_RELAY_PIPES,
        ALL = SPAWNER + DIRTY_SPAWNER_FDS
    };
    struct pollfd fds[ALL] = {{.fd = s->signal_fd, .events = POLLIN},
                              {.fd = s->report_fd, .events = POLLIN},
                              {.fd = s->upgrade.fd, .events = POLLIN}};
    dirty_relay_poll(&s->relay, &fds[RELAYED]);
    dirty_spawner_poll(&fds[SPAWNER]);
    tell_watchdog(s);
    dirty_sd_notify_again(&s->sd_notify);
    dirty_patience_end();
    poll(fds, ALL, dirty_ms_until(next_ns(s), dirty_now_ns()));
    dirty_patience_begin(DIRTY_PATIENCE_MS);
    dirty_relay_pass(&s->relay);
    if (s->heir != HEIR_NONE && s->heir != HEIR_ALONE) {
        hear_predecessor(s);
    } else if (dirty_spawner_is_gone(&fds[SPAWNER])) {
        dirty_log_msg(DIRTY_LOG_WARN, "the program that started the runtime is gone");
        stop(s, SIGQUIT);
    }
    /* Read reports first: what an arbiter sent before it died explains its death. */
    read_reports(s);
    upgrade_read(s);
    read_signals(s);
    kill_hanging(s);
    upgrade_check(s);
    if (s->upgrade.pidfile_lost)
        write_pidfile(s);
    s->upgrade.pidfile_lost = false;
    look_at_socket(s);
    give_orders(s);
    upgrade_tell(s);
}

static int end(supervisor *s) {
    upgrade_cancel(s, "the runtime ended");
    if (s->o->pidfile != NULL)
        dirty_pidfile_remove(&s->pidfile, s->o->pidfile, s->pid);
    dirty_endpoint_close(&s->endpoint);
    dirty_sd_notify_close(&s->sd_notify);
    if (s->signal_fd >= 0)
        close(s->signal_fd);
    dirty_log(DIRTY_LOG_INFO, "ended", "status=%d", s->status);
    dirty_patience_end();
    return s->status;
}

/* Bind the socket, unless we were given one. */
static int open_endpoint(supervisor *s) {
    const dirty_inheritance *in = dirty_inheritance_get();
    if (in->succeeds)
        s->heir = HEIR_WAITS;
    s->sd_notify.muted = in->succeeds;
    return dirty_inheritance_is_there()
               ? dirty_inheritance_claim(&s->endpoint, &s->o->socket)
               : dirty_endpoint_open(&s->endpoint, &s->o->socket);
}

int dirty_supervisor_run(const dirty_supervisor_options *o, dirty_supervised *out) {
    supervisor s = {.o = o,
                    .pid = getpid(),
                    .signal_fd = -1,
                    .report_fd = -1,
                    .status = DIRTY_EXIT_OK,
                    .start_at_ns = 1,
                    .look_at_ns = 1};
    dirty_relay_init(&s.relay);
    dirty_log_who("supervisor");
    watchdog_init(&s.watchdog, o->hang_ms);
    dirty_sd_notify_open(&s.sd_notify);
    if (open_endpoint(&s) < 0) {
        dirty_sd_notify_close(&s.sd_notify);
        return DIRTY_EXIT_SOCKET;
    }
    upgrade_init(&s);
    dirty_spawner_watch();
    if (open_signals(&s) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
        dirty_log(DIRTY_LOG_ERROR, "the supervisor can't start", "reason=%s",
                  DIRTY_LOG_QUOTE(strerror(errno)));
        s.status = DIRTY_EXIT_INTERNAL;
        return end(&s);
    }
    dirty_patience_init();
    o->set_title("dirty: supervisor");
    dirty_sd_notify_send(&s.sd_notify, "STATUS=Starting");
    while (!s.done) {
        if (s.subreaper == 0 && dirty_now_ns() >= s.start_at_ns) {
            if (arbiter_process_start(&s, out))
                return DIRTY_SUPERVISED;
            continue;
        }
        wait_for_events(&s);
    }
    return end(&s);
}
