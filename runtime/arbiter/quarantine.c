#include "arbiter/quarantine.h"

#include <utlist.h>

#include "arbiter/app.h"
#include "arbiter/availability.h"
#include "arbiter/pool.h"
#include "arbiter/reload.h"
#include "base/clock.h"
#include "base/log.h"

/* Quarantine an app after this many boots of a slot in a row that failed at it. */
#define FAILURES 3
/* Quarantined apps must have served for this long before all apps are dealt again. */
#define SETTLED_MS 5000
/* Pause before all apps are dealt again. It doubles each time, from PAUSE_FIRST_MS up
 * to PAUSE_LAST_MS. It returns to PAUSE_FIRST_MS after PAUSE_LAST_MS without
 * trouble. */
#define PAUSE_FIRST_MS 10000
#define PAUSE_LAST_MS 600000

/* May the app be quarantined now? An exclusive app can't while another worker has it. */
static bool can_go(const arbiter *a, const app *culprit) {
    int i = culprit != NULL ? plan_index(a->plan, culprit) : -1;
    return i >= 0 && !a->reloads &&
           !(a->plan->o->apps[i].exclusive && availability_ready_count(a, culprit) > 0);
}

static bool quarantine_app(arbiter *a, const app *culprit, const char *why) {
    uint32_t before = a->plan->slot_count;
    int i = plan_index(a->plan, culprit);
    if (i < 0 || plan_quarantine(a->plan, (uint32_t)i, why) < 0)
        return false;
    dirty_log(DIRTY_LOG_ERROR,
              "app can't boot: quarantined it, the other apps keep serving",
              "app=%s reason=%s", culprit->name, DIRTY_LOG_QUOTE(why));
    pool_recount(a);
    if (a->plan->slot_count > before && pool_slot(a, before + 1) != NULL) {
        slot_set_open(a->slots[before], why);
        pool_adjust(a);
    }
    return true;
}

/* Handle a failed boot. Returns true if an app was quarantined for it. */
static bool blame(slot *p) {
    const app *culprit = can_go(p->a, p->culprit) ? p->culprit : NULL;
    p->blamed_count = culprit != NULL && culprit == p->blamed ? p->blamed_count + 1 : 1;
    p->blamed = culprit;
    if (culprit == NULL || (p->blamed_count < FAILURES && !p->a->boot->dev))
        return false;
    p->blamed = NULL;
    p->blamed_count = 0;
    return quarantine_app(p->a, culprit, p->last_exit);
}

void quarantine_step(arbiter *a) {
    for (uint32_t i = 0; i < a->slot_room; i++) {
        slot *p = a->slots[i];
        if (!p->boot_failed)
            continue;
        p->boot_failed = false;
        if (blame(p)) {
            slot_fill_now(p);
            arbiter_mark(a, MARK_HOPELESS);
        }
    }
}

/* Has a worker with only this app served for SETTLED_MS? */
static bool is_settled(const arbiter *a, const app *what, uint64_t now_ns) {
    const worker *w;
    DL_FOREACH (a->workers, w)
        if (w->state == WORKER_READY && w->deal->app_count == 1 &&
            w->deal->apps[0] == what &&
            now_ns - w->ready_ns > SETTLED_MS * DIRTY_NS_PER_MS)
            return true;
    return false;
}

/* Pause before the next try, as a try may fail: the code may have changed, or the app
 * may boot only when it is alone. */
static void pause_joins(arbiter *a, uint64_t now_ns) {
    uint64_t ms = (uint64_t)PAUSE_FIRST_MS << a->joins;
    if (ms < PAUSE_LAST_MS)
        a->joins++;
    else
        ms = PAUSE_LAST_MS;
    a->join_at_ns = now_ns + ms * DIRTY_NS_PER_MS;
}

void quarantine_check(arbiter *a) {
    const plan *p = a->plan;
    uint64_t now_ns = dirty_now_ns();
    if (p->quarantined_count == 0 &&
        now_ns > a->join_at_ns + PAUSE_LAST_MS * DIRTY_NS_PER_MS)
        a->joins = 0;
    if (p->quarantined_count == 0 || now_ns < a->join_at_ns ||
        a->phase != ARBITER_SERVING || a->reloads || a->boot->source.probe == NULL)
        return;
    for (uint32_t i = 0; i < p->o->app_count; i++)
        if (p->quarantined[i] != NULL && !is_settled(a, p->apps[i], now_ns))
            return;
    if (!reload_start_same(a))
        return;
    pause_joins(a, now_ns);
    dirty_log_msg(
        DIRTY_LOG_INFO,
        "quarantined apps boot again: reloading to spread them over the workers");
}
