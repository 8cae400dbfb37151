#include "arbiter/slot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "arbiter/dispatch.h"
#include "arbiter/ready_lanes.h"
#include "arbiter/takeover.h"
#include "base/clock.h"
#include "base/log.h"

/* A quick death: a ready worker dies within this time without having served a request,
 * or a worker is killed while it boots. A pause follows after several quick deaths in a
 * row. It is short because a killed worker must be back within a second. */
#define QUICK_MS 1000
#define QUICK_DEATHS 5
#define QUICK_PAUSE_MS 300

/* -- Filling --------------------------------------------------------------------- */

static void on_respawn(uv_timer_t *handle);

static bool is_wanted(const slot *p) {
    return p->number <= p->a->plan->slot_count;
}

void slot_fill_after(slot *p, uint32_t ms) {
    p->respawn_at_ns = dirty_now_ns() + ms * DIRTY_NS_PER_MS;
    uv_timer_start(&p->respawn, on_respawn, ms, 0);
}

static uint32_t backoff_ms(uint32_t failures) {
    if (failures == 0)
        return 0;
    uint32_t doublings = failures - 1 < 16 ? failures - 1 : 16;
    uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << doublings;
    return ms > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : (uint32_t)ms;
}

static int start_worker(slot *p, plan *by, worker **out) {
    const deal *d = plan_deal(p->a, by, p->number);
    worker_seat seat = {p, p->number, p->generation + 1};
    int rc = d == NULL ? -ENOMEM : worker_spawn(p->a, seat, by, d, out);
    p->generation += d != NULL;
    if (rc < 0)
        dirty_log(DIRTY_LOG_ERROR, "worker can't be started",
                  "worker=%u reason=%s remedy=%s", p->number,
                  DIRTY_LOG_QUOTE(strerror(-rc)), DIRTY_LOG_QUOTE(dirty_log_remedy(rc)));
    return rc;
}

int slot_fill(slot *p) {
    return start_worker(p, p->a->plan, &p->worker);
}

static void on_respawn(uv_timer_t *handle) {
    slot *p = handle->data;
    if (p->a->phase == ARBITER_ENDING || p->worker != NULL || !is_wanted(p))
        return;
    if (p->generation > 0)
        p->a->counters.respawns++;
    int rc = slot_fill(p);
    if (rc == 0)
        return;
    snprintf(p->last_exit, sizeof p->last_exit, "can't be started: %s; %s", strerror(-rc),
             dirty_log_remedy(rc));
    slot_fill_after(p, backoff_ms(++p->failures));
    if (slot_is_open(p))
        arbiter_mark(p->a, MARK_HOPELESS | MARK_CHANGED);
}

int slot_start_next(slot *p, plan *by, bool hold) {
    p->hold_next = hold;
    p->next_failed = false;
    return start_worker(p, by, &p->next);
}

/* Put a booted worker into service and close the circuit. */
static void serve(slot *p) {
    worker *w = p->worker;
    p->failures = 0;
    w->serves = true;
    for (uint32_t i = 0; w->state == WORKER_READY && i < w->lane_count; i++)
        dispatch_pull(&w->lanes[i]);
}

void slot_promote(slot *p) {
    worker *old = p->worker;
    p->worker = p->next;
    p->next = NULL;
    p->hold_next = false;
    serve(p);
    if (old != NULL)
        worker_retire(old, p->a->reloads ? SLOT_RELOADED : SLOT_RECYCLED);
}

static void on_ready(worker *w) {
    slot *p = w->slot;
    w->told_ready = true;
    p->blamed = NULL;
    p->blamed_count = 0;
    if (w == p->next && !p->hold_next)
        slot_promote(p);
    else if (w == p->worker)
        serve(p);
}

static void first_start_failed(slot *p) {
    dirty_log(DIRTY_LOG_ERROR, "first start failed, nothing is served",
              "worker=%u failure=%s remedy=%s", p->number, DIRTY_LOG_QUOTE(p->last_exit),
              DIRTY_LOG_QUOTE("run `dirty check` for a full report"));
    p->a->start_failed = true;
}

/* Was the boot killed from outside, and not for memory? Then it says nothing about the
 * apps. */
static bool boot_was_killed(const worker *w) {
    return w->ready_ns == 0 && w->exit_reason == WORKER_EXIT_SIGNAL;
}

static bool died_quickly(const worker *w) {
    if (w->ready_ns == 0)
        return true;
    return w->served == 0 && dirty_now_ns() - w->ready_ns < QUICK_MS * DIRTY_NS_PER_MS;
}

/* Returns the pause before the next boot, in ms. It depends on how the last worker
 * ended. */
static uint32_t pause_ms(slot *p, const worker *w) {
    if (w->ready_ns == 0 && !boot_was_killed(w))
        return backoff_ms(p->failures++);
    p->quick_deaths = died_quickly(w) ? p->quick_deaths + 1 : 0;
    return p->quick_deaths >= QUICK_DEATHS ? QUICK_PAUSE_MS : 0;
}

void slot_set_open(slot *p, const char *why) {
    p->failures = BREAKER_FAILURES;
    snprintf(p->last_exit, sizeof p->last_exit, "%s", why);
}

/* Returns the app at which the boot failed, if the slot's other apps can be hosted
 * without it. NULL: none. */
static const app *culprit_of(const worker *w) {
    int at = worker_boots(w);
    bool alone = w->plan != w->a->plan || w->deal->app_count < 2;
    return at < 0 || alone ? NULL : w->deal->apps[at];
}

/* Boot no more until a file is saved: the same code would fail again, and its traceback
 * would scroll away. */
static void wait_for_edit(slot *p) {
    p->failures = BREAKER_FAILURES;
    dirty_log(DIRTY_LOG_WARN, "waiting until a file is saved", "worker=%u", p->number);
    arbiter_mark(p->a, MARK_HOPELESS | MARK_CHANGED);
}

static void refill(slot *p, const worker *w) {
    uint32_t ms = pause_ms(p, w);
    if (w->ready_ns == 0 && !boot_was_killed(w)) {
        p->boot_failed = true;
        p->culprit = culprit_of(w);
        if (p->a->boot->dev) {
            wait_for_edit(p);
            return;
        }
    }
    if (ms > 0)
        dirty_log(DIRTY_LOG_WARN, "worker will be replaced after a pause",
                  "worker=%u boot_failures=%u quick_deaths=%u pause_ms=%u circuit=%s",
                  p->number, p->failures, p->quick_deaths, ms,
                  slot_is_open(p) ? "open" : "closed");
    slot_fill_after(p, ms);
    if (slot_is_open(p))
        arbiter_mark(p->a, MARK_HOPELESS | MARK_CHANGED);
}

void slot_fill_now(slot *p) {
    p->failures = 0;
    slot_fill_after(p, 0);
}

/* Handle the loss of the slot's current or next worker. */
static void lose(slot *p, worker *w, bool was_ready) {
    arbiter *a = p->a;
    bool first = a->phase == ARBITER_STARTING && !was_ready;
    p->worker = NULL;
    bool serves_anyway = a->boot->restarts > 0 || a->boot->dev;
    if (first && serves_anyway)
        a->start_over = true; /* the apps may work again, or be mended */
    else if (first && !a->start_failed)
        first_start_failed(p);
    if (a->phase != ARBITER_ENDING && !a->start_failed && is_wanted(p))
        refill(p, w);
}

static void note_exit(slot *p, const char *how) {
    snprintf(p->last_exit, sizeof p->last_exit, "%.*s", (int)sizeof p->last_exit - 1,
             how);
}

static void on_gone(worker *w) {
    slot *p = w->slot;
    bool was_ready = w->ready_lanes == w->lane_count;
    w->told_gone = true;
    note_exit(p, w->boot_error[0] ? w->boot_error : w->how);
    if (!was_ready)
        p->a->counters.boot_failures++;
    if (w == p->next) {
        p->next = NULL;
        p->next_failed = true;
        p->next_killed =
            w->exit_reason == WORKER_EXIT_SIGNAL || w->exit_reason == WORKER_EXIT_OOM;
    } else if (w == p->worker) {
        lose(p, w, was_ready);
    }
    worker_close(w);
}

/* -- Recycling ------------------------------------------------------------------- */

/* Replace a worker after its replacement has booted. Does nothing if a replacement is
 * booting already or a reload is running. */
static void recycle(worker *w) {
    slot *p = w->slot;
    arbiter *a = p->a;
    const char *why = w->recycle;
    w->recycle = NULL;
    if (a->phase != ARBITER_SERVING || a->reloads || p->worker != w ||
        w->state != WORKER_READY || p->next != NULL || w->condemned != NULL)
        return;
    if (p->next_failed && dirty_now_ns() < p->respawn_at_ns)
        return; /* its replacement has just failed to boot */
    dirty_log(DIRTY_LOG_INFO, "worker is recycled",
              "worker=%u worker_pid=%d why=%s served=%llu", p->number, (int)w->pid, why,
              (unsigned long long)w->served);
    a->counters.recycled++;
    if (deal_is_exclusive(w->deal)) {
        worker_retire(w, SLOT_RECYCLED);
        return;
    }
    p->respawn_at_ns = dirty_now_ns() + BACKOFF_LAST_MS * DIRTY_NS_PER_MS;
    if (slot_start_next(p, a->plan, false) < 0)
        p->next_failed = true;
}

/* Answer the requests that still run after graceful_timeout. */
static void end_overdue(worker *w) {
    ready_lanes_adopt(w->a);
    for (uint32_t i = 0; i < w->lane_count; i++)
        takeover_shutdown(&w->lanes[i]);
    worker_kill(w, worker_has_busy_lane(w) ? "graceful_timeout" : "no_exit");
}

void slot_look(worker *w) {
    if (w->state == WORKER_READY && !w->told_ready)
        on_ready(w);
    if (w->recycle != NULL)
        recycle(w);
    if (w->overdue && w->state == WORKER_DRAINING)
        end_overdue(w);
    if (worker_is_gone(w) && !w->told_gone)
        on_gone(w);
}
