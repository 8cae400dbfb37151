/* app: one dirty app as the arbiter sees it, with the queue of its requests. It lives
 * while a plan has it. Its queue and counters survive reloads.
 *
 * The queue is ten lists of waiting requests, one per priority, each in order of
 * arrival. A lane takes the oldest request of the best priority among all apps that its
 * worker hosts. The app's max_queue and the global max_queue limit the queue. */
#ifndef DIRTY_ARBITER_APP_H
#define DIRTY_ARBITER_APP_H

#include "arbiter/hash.h"
#include "arbiter/meter.h"
#include "arbiter/internal.h"
#include "base/slice.h"
#include "wire/request.h"

struct app {
    char *name; /* owned */
    size_t name_len;
    const dirty_app_spec
        *spec;        /* from the newest plan that has it; set before app_show */
    uint32_t index;   /* small number, unique among existing apps */
    uint32_t refs;    /* number of plans that have it */
    uint32_t hosts;   /* number of slots that host it */
    bool direct;      /* lanes may take its requests themselves (ready_lanes.h) */
    bool shown;       /* callers can reach it: it is in arbiter.apps_by_name */
    app *prev, *next; /* in arbiter.apps */
    uint32_t queued;
    uint16_t waiting_bits; /* bit p is set: waiting[p] is not empty */
    request *waiting[DIRTY_PRIORITY_LAST + 1];
    meter meter;
    uint64_t run_ns_mean; /* moving mean of the last ~16 calls, for retry_after_ms */
    uint64_t values;
    uint64_t errors[DIRTY_CODE_LAST + 1];
    UT_hash_handle hh;
};

/* Returns the app of this name, made if there is none, and adds a reference. NULL: no
 * memory. */
app *app_take(arbiter *a, const char *name);
void app_unref(arbiter *a, app *p);

/* Make the app reachable for callers, or hide it. Idempotent. */
void app_show(arbiter *a, app *p);
void app_hide(arbiter *a, app *p);

/* Search for the served app of this name and remember it in arbiter.found. */
app *app_look_up(arbiter *a, dirty_slice name);

/* Returns the served app of this name, or NULL. It is often that of the last request. */
static inline app *app_find(arbiter *a, dirty_slice name) {
    app *last = a->found;
    if (last != NULL && dirty_slice_equals(name, last->name, last->name_len))
        return last;
    return app_look_up(a, name);
}

/* Is there room for one more request of the app? */
bool app_has_room(const arbiter *a, const app *p);

/* Estimate when a refused caller has a fair chance, from queue length and run times. */
uint32_t app_retry_after_ms(const app *p, uint32_t threads);

/* Insert a request into its app's queue by its order. Requires app, priority and order.
 * A request that came back unstarted goes before younger ones. */
void app_enqueue(arbiter *a, request *r);

/* Remove the request from its queue. */
void app_dequeue(arbiter *a, request *r);

/* Returns when the app's longest waiting request arrived, 0: none waits. */
uint64_t app_oldest_ns(const app *p);

/* Add what a lane that hosts these apps has counted since the last time
 * (base/call_counts.h) to their meters. `folded` says how far it was counted then. */
void app_fold_counts(arbiter *a, app *const *apps, uint32_t app_count,
                     const dirty_call_counts *counts, dirty_call_counts *folded);

/* Count a finished request of the app. p is NULL if the request was for no served
 * app. */
void app_count(arbiter *a, app *p, const meter_sample *sample);

#endif
