#include "supervisor/upgrade.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/handover.h"
#include "base/log.h"
#include "base/program.h"
#include "base/report.h"
#include "base/utf8.h"
#include "supervisor/inheritance.h"
#include "supervisor/internal.h"
#include "supervisor/spawner.h"
#include "supervisor/sweep.h"

/* How long the successor may take from GO to TAKEN. */
#define TAKE_MS 10000

bool upgrade_runs(const supervisor *s) {
    return s->upgrade.state == UPGRADE_STARTING ||
           s->upgrade.state == UPGRADE_HANDING_OVER;
}

/* -- Results ------------------------------------------------------------------------- */

static void tame(char *text) {
    text[dirty_utf8_tame(text, strlen(text), "")] = '\0';
}

static void set_last(upgrade *u, bool done, const char *from, const char *to,
                     const char *reason) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    u->last_number = u->number;
    u->last_done = done;
    u->last_at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    snprintf(u->last_from, sizeof u->last_from, "%s", from);
    snprintf(u->last_to, sizeof u->last_to, "%s", to);
    snprintf(u->last_reason, sizeof u->last_reason, "%s", reason);
    for (char *at = u->last_reason; *at; at++)
        if ((unsigned char)*at < 0x20)
            *at = ' ';
    /* As JSON it must fit into a report, or the arbiter would never hear of the end. */
    tame(u->last_reason);
    tame(u->last_to);
    u->told = false;
}

static void close_channel(upgrade *u) {
    if (u->fd >= 0)
        close(u->fd);
    u->fd = -1;
}

static void end(supervisor *s, upgrade_state state) {
    upgrade *u = &s->upgrade;
    close_channel(u);
    u->state = state;
    u->end_at_ns = 0;
}

static void fail(supervisor *s, const char *reason) {
    upgrade *u = &s->upgrade;
    bool handing_over = u->state == UPGRADE_HANDING_OVER;
    if (u->pid > 0) {
        dirty_sweep_spare_also(0);
        kill(-u->pid, SIGKILL); /* its group, */
        kill(u->pid, SIGKILL);  /* and it, if it has none yet */
        u->pid = 0;
    }
    end(s, UPGRADE_NONE);
    set_last(u, false, DIRTY_VERSION, u->to, reason);
    dirty_log(DIRTY_LOG_ERROR, "the upgrade failed: the old runtime goes on",
              "upgrade=%u reason=%s", u->number, DIRTY_LOG_QUOTE(u->last_reason));
    if (s->phase != SERVING)
        return;
    dirty_sd_notify_send(&s->sd_notify, "READY=1\nMAINPID=%d\nSTATUS=Upgrade failed: %s",
                         (int)s->pid, u->last_reason);
    u->pidfile_lost = handing_over; /* it may have written its own */
}

static void fail_with_words(supervisor *s, const char *how) {
    char reason[sizeof s->upgrade.said + 200];
    upgrade *u = &s->upgrade;
    while (u->said_len > 0 && u->said[u->said_len - 1] == '\n')
        u->said_len--;
    snprintf(reason, sizeof reason, "%s%s%.*s", how, u->said_len > 0 ? ": " : "",
             (int)u->said_len, u->said);
    fail(s, reason);
}

void upgrade_cancel(supervisor *s, const char *reason) {
    upgrade *u = &s->upgrade;
    if (!upgrade_runs(s))
        return;
    if (u->state == UPGRADE_HANDING_OVER && u->pid > 0) {
        kill(u->pid,
             SIGTERM); /* it may serve already: it finishes what it has accepted */
        u->pid = 0;
    }
    fail(s, reason);
}

void upgrade_init(supervisor *s) {
    const dirty_inheritance *in = dirty_inheritance_get();
    upgrade *u = &s->upgrade;
    *u = (upgrade){.fd = -1};
    if (!in->succeeds)
        return;
    u->number = in->number;
    set_last(u, true, in->from, DIRTY_VERSION, "");
}

/* -- Starting ------------------------------------------------------------------------ */

/* In the forked child. */
static _Noreturn void become_successor(supervisor *s, int channel) {
    char handover[DIRTY_SOCKET_PATH_SIZE + 120], watchdog_pid[40];
    const dirty_endpoint *e = &s->endpoint;
    int kept[] = {channel, e->fd, e->file_fd, e->lock_fd};
    setsid(); /* its group can be killed, and our terminal's signals don't reach it */
    snprintf(handover, sizeof handover, "%s=%d:%d:%d:%d:%d:%d:%u:%s:%s",
             DIRTY_HANDOVER_ENV, DIRTY_HANDOVER_PROTOCOL, channel, e->fd, e->file_fd,
             e->lock_fd, e->lent, s->upgrade.number, DIRTY_VERSION, e->path);
    snprintf(watchdog_pid, sizeof watchdog_pid, "WATCHDOG_PID=%d", (int)getpid());
    const char *changes[] = {handover,         "LISTEN_FDS", "LISTEN_PID",
                             "LISTEN_FDNAMES", watchdog_pid, NULL};
    if (s->sd_notify.watchdog_ms == 0)
        changes[4] = NULL;
    int rc = dirty_program_become(changes, kept, e->lock_fd < 0 ? 3 : 4);
    dirty_report r = {.kind = DIRTY_REPORT_SAID, .within_ms = (uint32_t)-rc};
    snprintf(r.text, sizeof r.text, "%s can't be run: %s", dirty_program_path(),
             strerror(-rc));
    dirty_report_send(channel, &r);
    _exit(DIRTY_EXIT_INTERNAL);
}

/* Why none can begin. NULL: it can. */
static const char *hindrance(const supervisor *s) {
    if (dirty_spawner_exists())
        return "this runtime belongs to the program that has started it by dirty_spawn";
    if (s->departs || s->upgrade.state == UPGRADE_DONE)
        return "its successor serves already";
    if (upgrade_runs(s))
        return "an upgrade is running already";
    if (s->reloads)
        return "a reload is running";
    if (s->phase != SERVING || !s->serves)
        return "this runtime is starting or stopping";
    return s->endpoint.fd >= 0 && s->endpoint.trouble[0] == '\0'
               ? NULL
               : "something is wrong with the socket's files";
}

/* The time that the successor may take. */
static uint64_t limit_of(const supervisor *s, uint32_t limit_ms) {
    if (limit_ms > 0)
        return limit_ms;
    return (uint64_t)s->o->start_timeout_ms + s->boot_within_ms;
}

/* Returns 0 or -errno. */
static int start(supervisor *s) {
    upgrade *u = &s->upgrade;
    int channel[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0)
        return -errno;
    dirty_fdpass_refuse(channel[0]);
    pid_t pid = fork();
    if (pid == 0)
        become_successor(s, channel[1]);
    int rc = pid < 0 ? -errno : 0;
    close(channel[1]);
    if (rc < 0) {
        close(channel[0]);
        return rc;
    }
    u->fd = channel[0];
    u->pid = pid;
    dirty_sweep_spare_also(pid);
    return 0;
}

void upgrade_begin(supervisor *s, uint32_t limit_ms) {
    upgrade *u = &s->upgrade;
    const char *why = hindrance(s);
    if (why != NULL) {
        dirty_log(DIRTY_LOG_WARN, "not upgraded", "reason=%s", DIRTY_LOG_QUOTE(why));
        u->told = false; /* the arbiter may have asked */
        if (!upgrade_runs(s)) {
            u->number++;
            set_last(u, false, DIRTY_VERSION, "", why);
        }
        return;
    }
    u->number++;
    u->said_len = 0;
    u->to[0] = '\0';
    u->told = false;
    u->state = UPGRADE_STARTING;
    u->end_at_ns = dirty_now_ns() + limit_of(s, limit_ms) * DIRTY_NS_PER_MS;
    int rc = start(s);
    if (rc < 0) {
        fail(s, strerror(-rc));
        return;
    }
    dirty_log(DIRTY_LOG_INFO, "upgrading", "upgrade=%u program=%s successor_pid=%d",
              u->number, DIRTY_LOG_QUOTE(dirty_program_path()), (int)u->pid);
    dirty_sd_notify_send(&s->sd_notify,
                         "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Upgrading",
                         (unsigned long long)(dirty_now_ns() / 1000));
}

/* -- Messages of the successor ------------------------------------------------------- */

static void on_hello(supervisor *s, const dirty_report *r) {
    char reason[200];
    upgrade *u = &s->upgrade;
    snprintf(u->to, sizeof u->to, "%.*s", (int)sizeof u->to - 1, r->text);
    for (char *at = u->to; *at; at++)
        if ((unsigned char)*at <= 0x20 || *at == '"')
            *at = '?';
    if (r->within_ms == DIRTY_HANDOVER_PROTOCOL)
        return;
    snprintf(reason, sizeof reason,
             "%s (version %s) hands over by protocol %u, this runtime by %d: stop this "
             "one and start that one",
             dirty_program_path(), u->to, r->within_ms, DIRTY_HANDOVER_PROTOCOL);
    fail(s, reason);
}

/* Keep the beginning of what it says. */
static void on_said(upgrade *u, const char *text) {
    size_t room = sizeof u->said - u->said_len, len = strnlen(text, room);
    memcpy(u->said + u->said_len, text, len);
    u->said_len += len;
}

static void on_ready(supervisor *s) {
    upgrade *u = &s->upgrade;
    dirty_report go = {.kind = DIRTY_REPORT_GO};
    if (u->to[0] == '\0') {
        fail(s, "it is ready without having said which protocol it speaks");
        return;
    }
    int rc = dirty_report_send(u->fd, &go);
    if (rc < 0 && rc != -EPIPE) { /* EPIPE: it has ended, which is reaped soon */
        fail(s, strerror(-rc));
        return;
    }
    u->state = UPGRADE_HANDING_OVER;
    u->end_at_ns = dirty_now_ns() + TAKE_MS * DIRTY_NS_PER_MS;
}

/* From here on the successor owns everything: files, service manager, callers. */
static void on_taken(supervisor *s) {
    upgrade *u = &s->upgrade;
    s->endpoint.lent = true;
    set_last(u, true, DIRTY_VERSION, u->to, "");
    dirty_log(DIRTY_LOG_INFO, "the successor serves: finishing the accepted calls",
              "upgrade=%u from=%s to=%s supervisor_pid=%d", u->number, DIRTY_VERSION,
              u->to, (int)u->pid);
    dirty_sd_notify_send(&s->sd_notify, "MAINPID=%d\nREADY=1\nSTATUS=Serving", u->pid);
    end(s, UPGRADE_DONE);
    s->departs = true;
    /* When our successor's successor has taken over, that one is nobody's child. It must
     * not come to us: we would sweep it. */
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    if (s->subreaper == 0)
        s->done = true;
}

static void on_message(supervisor *s, const dirty_report *r) {
    upgrade_state state = s->upgrade.state;
    switch ((int)r->kind) {
    case DIRTY_REPORT_HELLO: on_hello(s, r); break;
    case DIRTY_REPORT_SAID: on_said(&s->upgrade, r->text); break;
    case DIRTY_REPORT_READY:
        if (state == UPGRADE_STARTING)
            on_ready(s);
        break;
    case DIRTY_REPORT_TAKEN:
        if (state == UPGRADE_HANDING_OVER)
            on_taken(s);
        break;
    default: break; /* ENDED: its exit status is reaped */
    }
}

void upgrade_read(supervisor *s) {
    dirty_report r;
    int rc = 0;
    while (s->upgrade.fd >= 0 && (rc = dirty_report_take(s->upgrade.fd, &r)) > 0)
        on_message(s, &r);
    if (rc < 0)
        close_channel(&s->upgrade); /* its end tells more, or its time is over */
}

/* -- Its end ------------------------------------------------------------------------- */

bool upgrade_reaped(supervisor *s, pid_t pid, int wait_status) {
    char how[80];
    upgrade *u = &s->upgrade;
    if (pid != u->pid || pid == 0)
        return false;
    upgrade_read(s);
    u->pid = 0;
    dirty_sweep_spare_also(0);
    if (!upgrade_runs(s))
        return true;
    if (WIFSIGNALED(wait_status))
        snprintf(how, sizeof how, "the new program was ended by signal %d SIG%s",
                 WTERMSIG(wait_status), sigabbrev_np(WTERMSIG(wait_status)));
    else
        snprintf(how, sizeof how, "the new program ended with exit status %d",
                 WEXITSTATUS(wait_status));
    fail_with_words(s, how);
    return true;
}

void upgrade_check(supervisor *s) {
    const upgrade *u = &s->upgrade;
    if (upgrade_runs(s) && kill(u->pid, 0) < 0 && errno == ESRCH) {
        fail_with_words(s, "the new program ended"); /* a sweep has reaped it */
        return;
    }
    if (u->end_at_ns == 0 || dirty_now_ns() < u->end_at_ns)
        return;
    fail_with_words(s, u->state == UPGRADE_HANDING_OVER
                           ? "the new program did not take the socket over in time"
                           : "the new program was not ready in time");
}

/* -- For the status ------------------------------------------------------------------ */

static void append_last(const upgrade *u, dirty_buf *out) {
    if (u->last_number == 0) {
        dirty_buf_append_cstr(out, "null");
        return;
    }
    dirty_buf_printf(out, "{\"number\":%u,\"result\":\"%s\",\"reason\":", u->last_number,
                     u->last_done ? "done" : "failed");
    if (u->last_reason[0] != '\0')
        dirty_buf_json_string(out, u->last_reason, strlen(u->last_reason));
    else
        dirty_buf_append_cstr(out, "null");
    dirty_buf_append_cstr(out, ",\"from\":");
    dirty_buf_json_string(out, u->last_from, strlen(u->last_from));
    dirty_buf_append_cstr(out, ",\"to\":");
    if (u->last_to[0] != '\0')
        dirty_buf_json_string(out, u->last_to, strlen(u->last_to));
    else
        dirty_buf_append_cstr(out, "null");
    dirty_buf_printf(out, ",\"at\":%.3f}", u->last_at);
}

void upgrade_tell(supervisor *s) {
    static const char *const names[] = {[UPGRADE_NONE] = "none",
                                        [UPGRADE_STARTING] = "starting",
                                        [UPGRADE_HANDING_OVER] = "handing over",
                                        [UPGRADE_DONE] = "done"};
    upgrade *u = &s->upgrade;
    dirty_report r = {.kind = DIRTY_REPORT_UPGRADES};
    dirty_buf json = {0};
    if (u->told || s->report_fd < 0 || !s->listens)
        return;
    bool off = dirty_spawner_exists();
    dirty_upgrades may = off               ? DIRTY_UPGRADES_OFF
                         : upgrade_runs(s) ? DIRTY_UPGRADES_BUSY
                                           : DIRTY_UPGRADES_FREE;
    r.within_ms = u->number * DIRTY_UPGRADES_NUMBER + may;
    dirty_buf_printf(&json, "{\"state\":\"%s\",\"last\":", off ? "off" : names[u->state]);
    append_last(u, &json);
    dirty_buf_append_cstr(&json, "}");
    if (!dirty_buf_failed(&json) && json.len < sizeof r.text) {
        memcpy(r.text, json.base, json.len);
        u->told = dirty_report_send(s->report_fd, &r) == 0;
    }
    dirty_buf_deinit(&json);
}
