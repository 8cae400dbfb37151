#include "supervisor/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pidfile.h"
#include "base/report.h"
#include "supervisor/keeper.h"
#include "supervisor/notify.h"
#include "supervisor/sweep.h"

/* An arbiter that served for so long has shown that it can: its death counts as the
 * first. */
#define SETTLED_MS 10000
/* So many quick deaths in a row are answered at once, then the pauses begin. */
#define QUICK_DEATHS 3
#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 10000
/* What an arbiter gets beyond the time it asked for, before it is taken to hang. */
#define STOP_MARGIN_MS 5000

typedef enum phase {
    STARTING, /* the first arbiter boots: if it ends, so do we, with its status */
    SERVING,  /* one has served: another takes its place when it dies */
    STOPPING  /* we were told to stop, or it was */
} phase;

typedef struct supervisor {
    const dirty_supervisor_options *o;
    pid_t pid;
    dirty_endpoint endpoint;
    dirty_notify notify;
    int signal_fd;
    phase phase;
    bool done;
    int status;

    pid_t keeper; /* 0: none runs */
    int report_fd;
    bool listens;  /* it has said STARTED: signals have their meaning */
    bool serves;   /* it has said READY */
    uint32_t held; /* bits of signals that wait for STARTED */
    uint64_t born_ns, ready_ns;
    uint64_t start_at_ns; /* when the next one is due, while none runs */
    uint64_t kill_at_ns;  /* when it is taken to hang, 0: never */
    unsigned quick_deaths, stops;
    uint32_t restarts;
    char last_exit[64];
} supervisor;

/* -- Signals ---------------------------------------------------------------------------
 */

static void send_signal(const supervisor *s, int number) {
    if (s->keeper > 0)
        kill(s->keeper, number);
}

static void kill_after(supervisor *s, uint64_t ms) {
    s->kill_at_ns = dirty_now_ns() + ms * DIRTY_NS_PER_MS;
}

static void stop(supervisor *s, int number) {
    bool at_once = number == SIGQUIT || s->stops > 0;
    s->stops++;
    dirty_log(DIRTY_LOG_INFO, at_once ? "told to stop at once" : "told to stop",
              "signal=SIG%s", sigabbrev_np(number));
    s->phase = STOPPING;
    if (s->keeper == 0) {
        s->done = true;
        return;
    }
    /* While it boots, TERM has its default effect: it ends at once. */
    send_signal(s, at_once && s->listens ? SIGQUIT : SIGTERM);
    kill_after(s, STOP_MARGIN_MS);
}

/* Those that are not for the end wait until the arbiter knows them. */
static void pass_on(supervisor *s, int number) {
    if (number == SIGHUP && s->keeper == 0)
        s->start_at_ns = dirty_now_ns(); /* the next one reads the configuration anyway */
    else if (s->listens)
        send_signal(s, number);
    else
        s->held |= 1u << number;
}

static void reap(supervisor *s);

static void on_signal(supervisor *s, int number) {
    switch (number) {
    case SIGCHLD: reap(s); break;
    case SIGTERM:
    case SIGINT:
    case SIGQUIT: stop(s, number); break;
    case SIGUSR1:
        if (dirty_log_reopen() < 0)
            dirty_log_msg(DIRTY_LOG_ERROR, "log file can't be reopened");
        pass_on(s, number);
        break;
    case SIGHUP:
    case SIGTTIN:
    case SIGTTOU: pass_on(s, number); break;
    }
}

static void read_signals(supervisor *s) {
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        on_signal(s, (int)info.ssi_signo);
}

/* -- Reports ---------------------------------------------------------------------------
 */

static void on_started(supervisor *s) {
    s->listens = true;
    for (int number = 1; number < 32; number++)
        if (s->held >> number & 1)
            send_signal(s, number);
    s->held = 0;
}

static void write_pidfile(const supervisor *s) {
    int rc = s->o->pidfile ? dirty_pidfile_write(s->o->pidfile, s->pid) : 0;
    if (rc < 0)
        dirty_log(DIRTY_LOG_ERROR, "pidfile can't be written", "path=%s reason=%s",
                  DIRTY_LOG_QUOTE(s->o->pidfile), DIRTY_LOG_QUOTE(strerror(-rc)));
}

/* The log line is the last: who waits for it finds the rest done. */
static void on_ready(supervisor *s, const dirty_report *r) {
    s->serves = true;
    s->ready_ns = dirty_now_ns();
    if (s->phase == STARTING) {
        s->phase = SERVING;
        write_pidfile(s);
    }
    dirty_notify_send(&s->notify, "READY=1\nMAINPID=%d\nSTATUS=Serving: %s", (int)s->pid,
                      r->text);
    dirty_log(DIRTY_LOG_INFO, "ready", "%s arbiter_pid=%d restarts=%u", r->text, r->pid,
              s->restarts);
}

static void on_stopping(supervisor *s, uint32_t within_ms) {
    s->phase = STOPPING;
    kill_after(s, (uint64_t)within_ms + STOP_MARGIN_MS);
    dirty_notify_send(&s->notify, "STOPPING=1\nSTATUS=Stopping");
    /* New callers are refused at once, not when the last answer is out. */
    dirty_endpoint_close(&s->endpoint);
}

static void on_report(supervisor *s, const dirty_report *r) {
    switch ((dirty_report_kind)r->kind) {
    case DIRTY_REPORT_STARTED: on_started(s); break;
    case DIRTY_REPORT_READY: on_ready(s, r); break;
    case DIRTY_REPORT_RELOADING:
        dirty_notify_send(&s->notify,
                          "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reloading",
                          (unsigned long long)(dirty_now_ns() / 1000));
        break;
    case DIRTY_REPORT_RELOADED:
        dirty_notify_send(&s->notify, "READY=1\nSTATUS=%s", r->text);
        break;
    case DIRTY_REPORT_STOPPING: on_stopping(s, r->within_ms); break;
    case DIRTY_REPORT_REOPEN: on_signal(s, SIGUSR1); break;
    case DIRTY_REPORT_ALIVE: dirty_notify_send(&s->notify, "WATCHDOG=1"); break;
    }
}

/* Texts go into lines: of the log, and of what the service manager is told. */
static void make_one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20)
            *text = ' ';
}

static void read_reports(supervisor *s) {
    dirty_report r;
    int rc;
    while ((rc = s->report_fd < 0 ? 0 : dirty_report_take(s->report_fd, &r)) > 0) {
        make_one_line(r.text);
        on_report(s, &r);
    }
    if (rc < 0) {
        close(s->report_fd);
        s->report_fd = -1;
    }
}

/* -- Death of an arbiter ---------------------------------------------------------------
 */

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
    dirty_log(DIRTY_LOG_WARN, "the arbiter is started again",
              "restarts=%u in_ms=%u quick_deaths=%u", s->restarts, wait_ms,
              s->quick_deaths);
    dirty_notify_send(&s->notify, "STATUS=The arbiter ended (%s), the next is started",
                      s->last_exit);
}

/* What `dirty serve` ends with when its arbiter ended so. */
static int final_status(const supervisor *s, bool exited, int code) {
    if (exited)
        return code == DIRTY_KEEPER_NO_FORK ? DIRTY_SERVE_INTERNAL : code;
    /* Stopped before it could listen to TERM: that is in good order too. */
    return code == SIGTERM && s->phase == STOPPING && !s->listens ? DIRTY_SERVE_OK
                                                                  : DIRTY_SERVE_INTERNAL;
}

static void on_arbiter_gone(supervisor *s, int wait_status) {
    int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0;
    bool keeper_killed = WIFSIGNALED(wait_status);
    bool exited = !keeper_killed && code < 128;
    if (keeper_killed)
        code = WTERMSIG(wait_status);
    else if (!exited)
        code -= 128;
    snprintf(s->last_exit, sizeof s->last_exit, "%s%s %d%s%s",
             keeper_killed ? "keeper: " : "", exited ? "exit status" : "signal", code,
             exited ? "" : " SIG",
             exited               ? ""
             : sigabbrev_np(code) ? sigabbrev_np(code)
                                  : "?");
    s->keeper = 0;
    read_reports(s);
    if (s->report_fd >= 0)
        close(s->report_fd);
    s->report_fd = -1;
    bool good = exited && code == DIRTY_SERVE_OK;
    dirty_log(good ? DIRTY_LOG_INFO : DIRTY_LOG_ERROR, "arbiter ended",
              "how=%s up_ms=%llu", DIRTY_LOG_QUOTE(s->last_exit),
              (unsigned long long)((dirty_now_ns() - s->born_ns) / DIRTY_NS_PER_MS));
    unsigned left = dirty_sweep(DIRTY_SWEEP_MS); /* there are some if the keeper died */
    if (left > 0)
        dirty_log(DIRTY_LOG_WARN, "what the arbiter left is gone", "processes=%u", left);
    s->kill_at_ns = 0;
    if (s->phase == SERVING && !good) {
        plan_restart(s);
        return;
    }
    s->status = final_status(s, exited, code);
    s->done = true;
}

/* A keeper is our only child; orphans come here only after one was killed. */
static void reap(supervisor *s) {
    pid_t pid;
    int wait_status;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0)
        if (pid == s->keeper) {
            on_arbiter_gone(s, wait_status);
            return;
        }
}

static void kill_hanging(supervisor *s) {
    s->kill_at_ns = 0;
    dirty_log_msg(DIRTY_LOG_ERROR, "the arbiter does not end as told: it is killed");
    send_signal(s, SIGKILL); /* the keeper: the sweep after it gets the rest */
}

/* -- Birth of an arbiter ---------------------------------------------------------------
 */

/* In the new process: what it must not have of ours, and default signals. */
static void become_arbiter(supervisor *s, const int *report, dirty_supervised *out) {
    sigset_t signals;
    setpgid(0, 0);
    dirty_log_who("arbiter");
    dirty_endpoint_disown(&s->endpoint);
    dirty_notify_close(&s->notify);
    close(s->signal_fd);
    close(report[0]);
    dirty_keeper_signals(&signals);
    for (int number = 1; number < 32; number++)
        if (sigismember(&signals, number) > 0)
            signal(number, SIG_DFL);
    sigemptyset(&signals);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    *out = (dirty_supervised){.listen_fd = s->endpoint.fd,
                              .report_fd = report[1],
                              .supervisor_pid = s->pid,
                              .restarts = s->restarts,
                              .report_ms = s->notify.watchdog_ms};
    snprintf(out->last_exit, sizeof out->last_exit, "%s", s->last_exit);
}

static void start_failed(supervisor *s, int rc) {
    dirty_log(DIRTY_LOG_ERROR, "the arbiter can't be started", "reason=%s",
              DIRTY_LOG_QUOTE(strerror(-rc)));
    if (s->phase == SERVING) {
        plan_restart(s);
        return;
    }
    s->status = DIRTY_SERVE_INTERNAL;
    s->done = true;
}

/* True in the process that is to become the arbiter. */
static bool start_arbiter(supervisor *s, dirty_supervised *out) {
    int report[2];
    s->listens = s->serves = false;
    s->born_ns = dirty_now_ns();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) < 0) {
        start_failed(s, -errno);
        return false;
    }
    pid_t keeper = fork();
    if (keeper == 0) {
        pid_t parent = dirty_keeper_run(s->pid, s->o->set_title);
        become_arbiter(s, report, out);
        out->parent_pid = parent;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* until settle makes sure of it */
        return true;
    }
    int saved = errno;
    close(report[1]);
    if (keeper < 0) {
        close(report[0]);
        start_failed(s, -saved);
        return false;
    }
    s->keeper = keeper;
    s->report_fd = report[0];
    dirty_log(DIRTY_LOG_INFO, "arbiter started", "keeper_pid=%d restarts=%u", (int)keeper,
              s->restarts);
    return false;
}

int dirty_supervised_settle(const dirty_supervised *child, const dirty_rights *rights) {
    int rc = dirty_rights_take(rights);
    if (rc < 0) {
        dirty_log(DIRTY_LOG_ERROR, "can't become another user",
                  "uid=%lld gid=%lld reason=%s", (long long)rights->uid,
                  (long long)rights->gid, DIRTY_LOG_QUOTE(strerror(-rc)));
        return rc;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of user takes it away: so after it */
    if (getppid() == child->parent_pid)
        return 0;
    dirty_log_msg(DIRTY_LOG_ERROR, "the parent is gone");
    return -ESRCH;
}

/* -- Life ------------------------------------------------------------------------------
 */

static int open_signals(supervisor *s) {
    sigset_t signals;
    dirty_keeper_signals(&signals);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    s->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signal_fd < 0 ? -errno : 0;
}

static uint64_t next_ns(const supervisor *s) {
    if (s->keeper == 0)
        return s->start_at_ns;
    return s->kill_at_ns;
}

static void wait_for_events(supervisor *s) {
    struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
                           {.fd = s->report_fd, .events = POLLIN}};
    poll(fds, 2, dirty_ms_until(next_ns(s), dirty_now_ns()));
    /* Reports first: what an arbiter said before it died explains its death. */
    read_reports(s);
    read_signals(s);
    if (s->keeper > 0 && s->kill_at_ns > 0 && dirty_now_ns() >= s->kill_at_ns)
        kill_hanging(s);
}

static int end(supervisor *s) {
    if (s->o->pidfile != NULL)
        dirty_pidfile_remove(s->o->pidfile, s->pid);
    dirty_endpoint_close(&s->endpoint);
    dirty_notify_close(&s->notify);
    if (s->signal_fd >= 0)
        close(s->signal_fd);
    dirty_log(DIRTY_LOG_INFO, "ended", "status=%d", s->status);
    return s->status;
}

int dirty_supervisor_run(const dirty_supervisor_options *o, dirty_supervised *out) {
    supervisor s = {.o = o,
                    .pid = getpid(),
                    .signal_fd = -1,
                    .report_fd = -1,
                    .status = DIRTY_SERVE_OK,
                    .start_at_ns = 1};
    dirty_log_who("supervisor");
    dirty_notify_open(&s.notify);
    if (dirty_endpoint_open(&s.endpoint, &o->socket) < 0) {
        dirty_notify_close(&s.notify);
        return DIRTY_SERVE_SOCKET;
    }
    if (open_signals(&s) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
        dirty_log(DIRTY_LOG_ERROR, "can't supervise", "reason=%s",
                  DIRTY_LOG_QUOTE(strerror(errno)));
        s.status = DIRTY_SERVE_INTERNAL;
        return end(&s);
    }
    o->set_title("dirty: supervisor");
    dirty_notify_send(&s.notify, "STATUS=Starting");
    while (!s.done) {
        if (s.keeper == 0 && dirty_now_ns() >= s.start_at_ns) {
            if (start_arbiter(&s, out))
                return DIRTY_SUPERVISED;
            continue;
        }
        wait_for_events(&s);
    }
    return end(&s);
}
