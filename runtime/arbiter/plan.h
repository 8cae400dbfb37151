/* plan: one generation of the configuration, and which slot hosts which apps.
 *
 * The arbiter holds the current plan, a reload the next one, and each worker the plan
 * it was started with. Options, specs and deals stay valid while a holder exists. The
 * options belong to the configuration's source and are released with the last holder.
 *
 * An app that fails to boot would keep the other apps of its workers from serving. Such
 * an app is quarantined once it is known: an extra slot behind the others hosts it
 * alone. */
#ifndef DIRTY_ARBITER_PLAN_H
#define DIRTY_ARBITER_PLAN_H

#include "arbiter/app.h"
#include "arbiter/internal.h"

/* The apps that one slot's worker hosts. Its address stays the same while the plan
 * lives. */
typedef struct deal {
    uint32_t app_count;
    const dirty_app_spec *
        *specs;  /* owned array of borrowed specs; DISPATCH.app indexes it */
    app **apps;  /* owned array, same order */
    int16_t *at; /* owned, by app.index: position in apps, -1 */
    uint32_t at_len;
} deal;

typedef struct plan {
    const dirty_arbiter_options *o;
    uint32_t refs;
    uint32_t number; /* counts the configurations read, from 1 */
    app **apps;      /* owned array, o->app_count, in the order of o->apps */
    deal **deals;    /* owned; deals[i] is for slot i + 1 */
    uint32_t deal_count;
    deal **former; /* owned: replaced deals that workers may still use */
    uint32_t former_count;
    char **quarantined; /* owned, by app: reason of its quarantine, NULL: none */
    uint32_t quarantined_count;
    uint32_t slot_count; /* slots that must have workers: changes with scaling */
} plan;

/* Make a plan with one app object per spec, dealt to o->workers slots. An app that is
 * served now under the same name is kept, with its queue and counters. Returns one
 * reference and takes ownership of `o`, or NULL if memory runs out. */
plan *plan_new(arbiter *a, const dirty_arbiter_options *o);
void plan_ref(plan *p);
void plan_unref(arbiter *a, plan *p);

/* Returns the deal of slot `number` (from 1), which is made if it is new. NULL: no
 * memory. */
const deal *plan_deal(arbiter *a, plan *p, uint32_t number);

/* Quarantine the app number `i` of o->apps. `why` is copied. The app is removed from
 * all slots that also host other apps. If then no slot hosts it, a last slot is added
 * for it. Running workers keep their deal. Returns 0 or -ENOMEM. */
int plan_quarantine(plan *p, uint32_t i, const char *why);

/* Returns the index of the app in o->apps, -1: not in the plan. */
int plan_index(const plan *p, const app *what);

/* Make `p` the current plan: callers reach its apps from now on. First hide the apps
 * that it lacks (app_hide): other apps of the old plan stay reachable. Takes the
 * caller's reference and drops that of the old plan. */
void plan_install(arbiter *a, plan *p);

/* Would every app keep enough hosts without this slot? An app needs as many as its
 * limit, or one if it has no limit. */
bool plan_can_spare(const arbiter *a, const plan *p, uint32_t number);

/* Does the deal have an app that must not run beside its replacement? */
bool deal_is_exclusive(const deal *d);

/* Returns the position of the app in the deal, -1: not in it. */
static inline int deal_at(const deal *d, const app *p) {
    return p->index < d->at_len ? d->at[p->index] : -1;
}

#endif
