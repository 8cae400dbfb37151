#include "arbiter/reload.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter/child.h"
#include "arbiter/dispatch.h"
#include "arbiter/grant.h"
#include "arbiter/notify.h"
#include "arbiter/pool.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/patience.h"

/* Limit of a probe's report: one JSON line per app, with tracebacks. */
#define REPORT_MAX (4u << 20)
/* Boot attempts per worker of the new plan after it is installed. */
#define REPLACE_TRIES 3

static const char *const state_names[] = {
    [RELOAD_IDLE] = "idle",
    [RELOAD_PROBING] = "probing",
    [RELOAD_COVERING] = "covering",
    [RELOAD_REPLACING] = "replacing",
};

const char *reload_state_name(reload_state state) {
    return state_names[state];
}

static void set_state(reload *r, reload_state to) {
    static const uint8_t edges[] = {
        [RELOAD_IDLE] = 1 << RELOAD_PROBING,
        [RELOAD_PROBING] = 1 << RELOAD_COVERING | 1 << RELOAD_IDLE,
        [RELOAD_COVERING] = 1 << RELOAD_REPLACING | 1 << RELOAD_IDLE,
        [RELOAD_REPLACING] = 1 << RELOAD_IDLE,
    };
    assert(edges[r->state] >> to & 1);
    dirty_log(DIRTY_LOG_DEBUG, "reload state", "roll=%llu from=%s to=%s",
              (unsigned long long)r->number, state_names[r->state], state_names[to]);
    r->state = to;
    r->a->reloads = to != RELOAD_IDLE;
    arbiter_mark(r->a, MARK_CHANGED);
}

/* -- End of a reload ------------------------------------------------------------- */

static void begin(reload *r, bool same);

/* Is the previous reload fully cleaned up? Its probe must be reaped. Its pipe must be
 * closed because the next reload uses the same handle. */
static bool is_free(const reload *r) {
    return r->state == RELOAD_IDLE && r->probe_pid <= 0 && !r->pipe_closing;
}

/* Begin the reload that was requested during the last one. */
static void begin_again(reload *r) {
    if (!r->again || !is_free(r) || r->a->phase != ARBITER_SERVING)
        return;
    r->again = false;
    begin(r, false);
}

__attribute__((format(printf, 3, 4))) static void end(reload *r, const char *result,
                                                      const char *format, ...) {
    char reason[sizeof r->reason]; /* an argument may be r->reason */
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    memcpy(r->reason, reason, sizeof reason);
    snprintf(r->result, sizeof r->result, "%s", result);
    bool done = strcmp(result, "done") == 0, failed = strcmp(result, "failed") == 0;
    if (done)
        r->a->counters.reloads++;
    else
        r->a->counters.reload_failures++;
    dirty_log(done ? DIRTY_LOG_INFO : DIRTY_LOG_ERROR,
              done     ? "reloaded"
              : failed ? "reload failed: the old code keeps serving"
                       : "reloaded partially",
              "roll=%llu result=%s reason=%s ms=%llu", (unsigned long long)r->number,
              result, DIRTY_LOG_QUOTE(r->reason),
              (unsigned long long)((dirty_now_ns() - r->started_ns) / DIRTY_NS_PER_MS));
    if (r->a->phase == ARBITER_SERVING)
        notify_tell(r->a, DIRTY_REPORT_RELOADED, "%s%s%s",
                    done     ? "Reloaded"
                    : failed ? "Reload failed, the old code keeps serving"
                             : "Reloaded partially",
                    r->reason[0] ? ": " : "", r->reason);
    r->last.number = r->number;
    r->last.at_ns = dirty_now_ns();
    memcpy(r->last.result, r->result, sizeof r->result);
    memcpy(r->last.reason, r->reason, sizeof r->reason);
    uv_timer_stop(&r->timer);
    set_state(r, RELOAD_IDLE);
    begin_again(r);
}

/* Drop the plan that was not installed, and kill the workers that it booted. */
static void drop_next(reload *r) {
    for (uint32_t i = 0; i < r->a->slot_room; i++) {
        slot *p = r->a->slots[i];
        if (p->next != NULL && p->hold_next)
            worker_kill(p->next, "reload_failed");
        p->hold_next = false;
    }
    plan_unref(r->a, r->next);
    r->next = NULL;
}

/* -- Replacing ------------------------------------------------------------------- */

/* Is the slot renewed? Its worker must be ready and of the current plan, and the old
 * worker must be gone. */
static bool slot_is_renewed(const arbiter *a, const slot *p) {
    const worker *w;
    for (w = a->workers; w != NULL; w = w->next)
        if (w->slot == p && w != p->worker && !worker_is_gone(w))
            return false;
    return p->worker != NULL && p->worker->plan == a->plan &&
           p->worker->state == WORKER_READY;
}

/* Advance the renewal of the slot. Returns true if the reload can go on to the next
 * slot. */
static bool renew(reload *r, slot *p) {
    arbiter *a = r->a;
    if (slot_is_renewed(a, p))
        return true;
    if (p->worker == NULL && p->failures >= REPLACE_TRIES) {
        /* An exclusive app: its old worker had to end first. The pool keeps trying. */
        snprintf(r->reason, sizeof r->reason, "worker %u can't boot: %.300s", p->number,
                 p->last_exit);
        return true;
    }
    if (p->worker == NULL || p->worker->plan == a->plan || p->next != NULL)
        return false; /* it is being filled, or the old worker is still ending */
    if (p->next_failed && ++r->tries >= REPLACE_TRIES) {
        snprintf(r->reason, sizeof r->reason, "worker %u can't boot: %.300s", p->number,
                 p->last_exit);
        return true;
    }
    if (deal_is_exclusive(p->worker->deal))
        worker_retire(p->worker,
                      SLOT_RELOADED); /* the slot is then filled by the current plan */
    else if (slot_start_next(p, a->plan, false) < 0)
        p->next_failed = true;
    return false;
}

static void replace(reload *r) {
    arbiter *a = r->a;
    while (r->at < a->plan->slot_count && renew(r, a->slots[r->at])) {
        r->at++;
        r->tries = 0;
        if (r->at < a->plan->slot_count)
            a->slots[r->at]->next_failed = false;
    }
    if (r->at < a->plan->slot_count)
        return;
    if (r->reason[0] != '\0' || r->kept[0] != '\0')
        end(r, "partial", "%s%s%s", r->reason, r->reason[0] && r->kept[0] ? "; " : "",
            r->kept);
    else
        end(r, "done", "%s", "");
}

/* -- Covering -------------------------------------------------------------------- */

static bool is_covered(const plan *by, uint32_t until, const app *what) {
    for (uint32_t i = 0; i < until; i++)
        if (deal_at(by->deals[i], what) >= 0)
            return true;
    return false;
}

/* Does the slot host an app that no earlier slot hosts? False for exclusive apps: they
 * can't be tried while the old worker serves. */
static bool adds_cover(const plan *by, uint32_t i) {
    const deal *d = by->deals[i];
    bool adds = false;
    for (uint32_t k = 0; k < d->app_count; k++) {
        if (d->specs[k]->exclusive)
            return false;
        adds = adds || !is_covered(by, i, d->apps[k]);
    }
    return adds;
}

static void cover(reload *r) {
    arbiter *a = r->a;
    set_state(r, RELOAD_COVERING);
    r->tries = 0;
    if (pool_slot(a, r->next->slot_count) == NULL) {
        drop_next(r);
        end(r, "failed", "out of memory");
        return;
    }
    for (uint32_t i = 0; i < r->next->slot_count; i++) {
        slot *p = a->slots[i];
        if (!adds_cover(r->next, i))
            continue;
        if (p->next != NULL) {
            /* A replacement for recycling is still booting. The reload replaces it. */
            worker_kill(p->next, "reload");
            p->next = NULL;
        }
        int rc = slot_start_next(p, r->next, true);
        if (rc < 0) {
            drop_next(r);
            end(r, "failed", "worker %u can't be started: %s", p->number, strerror(-rc));
            return;
        }
    }
}

/* Apply the socket options that changed in the new configuration. */
static void change_socket(reload *r) {
    char why[300];
    size_t len = strlen(r->kept);
    if (grant_apply(r->a, r->next->o, why, sizeof why) == 0)
        return;
    dirty_log(DIRTY_LOG_WARN, "the socket can't be changed", "reason=%s",
              DIRTY_LOG_QUOTE(why));
    snprintf(r->kept + len, sizeof r->kept - len, "%s%s", len > 0 ? "; " : "", why);
}

/* Workers have the level of their plan. Those of the old one keep theirs. */
static void change_log_level(reload *r) {
    const char *name = r->next->o->log_level;
    if (name == NULL)
        return;
    dirty_log_set_level_name(name);
    notify_tell(r->a, DIRTY_REPORT_LEVEL, "%s", name);
}

static void install(reload *r) {
    arbiter *a = r->a;
    plan *next = r->next;
    change_socket(r);
    change_log_level(r);
    r->next = NULL;
    for (uint32_t i = 0; i < a->plan->o->app_count; i++)
        if (plan_index(next, a->plan->apps[i]) < 0)
            dispatch_drop_app(a, a->plan->apps[i]);
    plan_install(a, next);
    for (uint32_t i = 0; i < a->slot_room; i++) {
        slot *p = a->slots[i];
        if (p->next != NULL && p->hold_next)
            slot_promote(p);
    }
    set_state(r, RELOAD_REPLACING);
    r->at = 0;
    r->tries = 0;
    r->reason[0] = '\0';
    pool_adjust(a);
    for (uint32_t i = 0; a->boot->dev && i < a->plan->slot_count; i++)
        if (a->slots[i]->worker == NULL)
            slot_fill_now(a->slots[i]); /* it waited for an edit */
    replace(r);
}

/* Start a held worker again if it was killed from outside: that says nothing about the
 * new code. */
static bool try_again(reload *r, slot *p) {
    return p->next_killed && ++r->tries < REPLACE_TRIES &&
           slot_start_next(p, r->next, true) == 0;
}

static void check_cover(reload *r) {
    arbiter *a = r->a;
    for (uint32_t i = 0; i < a->slot_room; i++) {
        slot *p = a->slots[i];
        if (p->hold_next && p->next_failed && !try_again(r, p)) {
            char reason[400];
            snprintf(reason, sizeof reason, "worker %u can't boot: %s", p->number,
                     p->last_exit);
            p->hold_next = false;
            drop_next(r);
            end(r, "failed", "%s", reason);
            return;
        }
        if (p->hold_next && p->next->ready_lanes < p->next->lane_count)
            return;
    }
    install(r);
}

void reload_step(arbiter *a) {
    reload *r = a->reload;
    if (a->phase != ARBITER_SERVING && a->phase != ARBITER_STARTING) {
        if (r->state == RELOAD_COVERING)
            drop_next(r);
        if (r->state == RELOAD_COVERING || r->state == RELOAD_REPLACING)
            end(r, "failed", "the runtime is shutting down");
    } else if (r->state == RELOAD_COVERING) {
        check_cover(r);
    } else if (r->state == RELOAD_REPLACING) {
        replace(r);
    }
}

/* -- Probing --------------------------------------------------------------------- */

static void on_pipe_closed(uv_handle_t *handle) {
    reload *r = handle->data;
    r->pipe_closing = false;
    begin_again(r);
}

static void close_pipe(reload *r) {
    if (r->pipe_open) {
        r->pipe_closing = true;
        uv_close((uv_handle_t *)&r->report_pipe, on_pipe_closed);
    }
    r->pipe_open = false;
}

static void probe_failed(reload *r, const char *why) {
    close_pipe(r);
    if (r->probe_pid > 0)
        kill(-r->probe_pid, SIGKILL); /* reaped by reload_reap */
    dirty_buf_deinit(&r->report);
    end(r, "failed", "%s", why);
}

static void on_probe_timeout(uv_timer_t *handle) {
    char why[100];
    reload *r = handle->data;
    snprintf(why, sizeof why, "%s within %u ms (boot_timeout)",
             r->report.len > 0 ? "the apps did not load"
                               : "the configuration did not finish",
             r->a->o->boot_timeout_ms);
    probe_failed(r, why);
}

static void limit_probe(reload *r) {
    if (r->a->o->boot_timeout_ms > 0)
        uv_timer_start(&r->timer, on_probe_timeout, r->a->o->boot_timeout_ms, 0);
}

static void report_is_whole(reload *r) {
    const dirty_config_source *source = &r->a->boot->source;
    const dirty_arbiter_options *options = NULL;
    char why[600] = "";
    close_pipe(r);
    uv_timer_stop(&r->timer);
    int rc = source->finish(source->ctx, (const char *)r->report.base, r->report.len,
                            &options, why, sizeof why);
    dirty_patience_begin(DIRTY_PATIENCE_MS); /* its limit uses the same timer */
    dirty_buf_deinit(&r->report);
    if (rc < 0) {
        end(r, "failed", "%s", why);
        return;
    }
    snprintf(r->kept, sizeof r->kept, "%s", why);
    r->next = plan_new(r->a, options);
    if (r->next == NULL)
        end(r, "failed", "out of memory");
    else
        cover(r);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    reload *r = handle->data;
    (void)suggested;
    *out = uv_buf_init(r->chunk, sizeof r->chunk);
}

static void on_report(uv_stream_t *stream, ssize_t n, const uv_buf_t *chunk) {
    reload *r = stream->data;
    if (n > 0) {
        if (r->report.len == 0)
            limit_probe(r); /* the configuration is read; apps have their own time */
        dirty_buf_append(&r->report, chunk->base, (size_t)n);
        if (dirty_buf_failed(&r->report) || r->report.len > REPORT_MAX)
            probe_failed(r, "the report of the probe is too long");
    } else if (n < 0) {
        report_is_whole(r);
    }
}

/* Fork the child that loads the new code. Returns 0 or -errno. */
static int start_probe(reload *r, bool same) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    r->probe_pid = child_probe(r->a, same, fds[1]);
    int rc = r->probe_pid < 0 ? -errno : 0;
    close(fds[1]);
    if (rc < 0) {
        r->probe_pid = 0;
        close(fds[0]);
        return rc;
    }
    uv_pipe_init(&r->a->loop, &r->report_pipe, 0);
    r->report_pipe.data = r;
    r->pipe_open = true;
    rc = uv_pipe_open(&r->report_pipe, fds[0]);
    if (rc < 0) {
        close(fds[0]);
        return rc;
    }
    limit_probe(r);
    return uv_read_start((uv_stream_t *)&r->report_pipe, on_room, on_report);
}

static void begin(reload *r, bool same) {
    const dirty_config_source *source = &r->a->boot->source;
    char why[600] = "";
    r->number++;
    r->started_ns = dirty_now_ns();
    r->result[0] = r->reason[0] = r->kept[0] = '\0';
    dirty_log(DIRTY_LOG_INFO, "reloading", "roll=%llu", (unsigned long long)r->number);
    notify_tell(r->a, DIRTY_REPORT_RELOADING, "%s", "");
    set_state(r, RELOAD_PROBING);
    if (source->probe == NULL) {
        end(r, "failed", "this runtime has no configuration to reload");
        return;
    }
    int rc = start_probe(r, same);
    if (rc < 0) {
        snprintf(why, sizeof why, "the probe can't be started: %s", strerror(-rc));
        probe_failed(r, why);
    }
}

reload_answer reload_start(arbiter *a) {
    reload *r = a->reload;
    if (a->phase == ARBITER_DRAINING || a->phase == ARBITER_ENDING)
        return (reload_answer){.start = "refused"};
    /* The running reload may have read the files before they changed. */
    if (!is_free(r) || a->phase == ARBITER_STARTING) {
        const char *start = r->again ? "merged" : "follows";
        r->again = true;
        return (reload_answer){.number = r->number + 1, .start = start};
    }
    begin(r, false);
    return (reload_answer){.number = r->number, .start = "begun"};
}

bool reload_start_same(arbiter *a) {
    if (!is_free(a->reload) || a->phase != ARBITER_SERVING)
        return false;
    begin(a->reload, true);
    return true;
}

void reload_reap(arbiter *a) {
    reload *r = a->reload;
    siginfo_t info = {.si_pid = 0};
    if (r->probe_pid <= 0 ||
        waitid(P_PID, (id_t)r->probe_pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
        info.si_pid != r->probe_pid)
        return;
    /* Kill processes that the configuration left behind, while the group id is still
     * valid. */
    kill(-r->probe_pid, SIGKILL);
    waitpid(r->probe_pid, NULL, 0);
    r->probe_pid = 0;
    /* The rest of the report is in the pipe and is read until its end. */
    begin_again(r);
}

/* -- Creation and closing -------------------------------------------------------- */

int reload_init(arbiter *a) {
    reload *r = calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    r->a = a;
    uv_timer_init(&a->loop, &r->timer);
    r->timer.data = r;
    a->reload = r;
    return 0;
}

void reload_close(arbiter *a) {
    reload *r = a->reload;
    close_pipe(r);
    if (r->probe_pid > 0) {
        kill(-r->probe_pid, SIGKILL); /* whoever inherits our children reaps it */
        r->probe_pid = 0;
    }
    plan_unref(a, r->next);
    r->next = NULL;
    if (!uv_is_closing((uv_handle_t *)&r->timer))
        uv_close((uv_handle_t *)&r->timer, NULL);
}

void reload_deinit(arbiter *a) {
    dirty_buf_deinit(&a->reload->report);
    free(a->reload);
    a->reload = NULL;
}
