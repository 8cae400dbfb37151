/* plan: one generation of the configuration, and which slot hosts which of its apps.
 *
 * The arbiter holds the current plan, a reload the next one, every worker the one it was
 * started with: options, specs and deals stay valid as long as somebody holds them. The
 * options belong to the configuration's source and are released with the last holder.
 *
 * An app that can't boot would keep the others of its workers from serving. Where that is
 * known the app is quarantined: a slot of its own, behind the others, hosts it. */
#ifndef DIRTY_ARBITER_PLAN_H
#define DIRTY_ARBITER_PLAN_H

#include "arbiter/app.h"
#include "arbiter/internal.h"

/* What the worker of one slot hosts. Never moves while its plan lives. */
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
    uint32_t number; /* 1.. counts the configurations that were read */
    app **apps;      /* owned array, o->app_count, in the order of o->apps */
    deal **deals;    /* owned, deals[i] is of slot i + 1 */
    uint32_t deal_count;
    deal **former; /* owned: those that were replaced, as workers still have them */
    uint32_t former_count;
    char **quarantined; /* owned, by app: why it is quarantined, NULL: it is not */
    uint32_t quarantined_count;
    uint32_t slot_count; /* how many slots are to be filled: changes with scaling */
} plan;

/* Make a plan: an app object for each spec (an app of the same name that is served now is
 * taken on, with its queue and counters), apps dealt to o->workers slots. Takes over
 * `o` when it succeeds. NULL: no memory. One reference. */
plan *plan_new(arbiter *a, const dirty_arbiter_options *o);
void plan_ref(plan *p);
void plan_unref(arbiter *a, plan *p);

/* The deal of slot `number` (1..), made if it is new; NULL: no memory. */
const deal *plan_deal(arbiter *a, plan *p, uint32_t number);

/* Quarantine the app number `i` of o->apps because of `why`, which is copied. Takes the
 * app out of all slots that host other apps too. If no slot is left that hosts it, adds a
 * last slot for it. Running workers keep their deal. 0 or -ENOMEM. */
int plan_quarantine(plan *p, uint32_t i, const char *why);

/* Number of the app in o->apps, -1: not in the plan. */
int plan_index(const plan *p, const app *what);

/* Make it the current plan: callers reach its apps from now on. Hide the apps that it
 * lacks first (app_hide): others of the former plan stay reachable. Takes over the
 * caller's reference and drops that of the former plan. */
void plan_install(arbiter *a, plan *p);

/* Would every app keep enough hosts without this slot? Enough is its limit, or one if it
 * has none. */
bool plan_can_spare(const arbiter *a, const plan *p, uint32_t number);

/* Does it host an app that must not run beside its replacement? */
bool deal_is_exclusive(const deal *d);

/* Position of the app in the deal, -1: not in it. */
static inline int deal_at(const deal *d, const app *p) {
    return p->index < d->at_len ? d->at[p->index] : -1;
}

#endif
