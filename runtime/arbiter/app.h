/* app: one dirty app as the arbiter sees it, with the queue of its requests.
 *
 * It lives as long as a plan has it, and keeps its queue and counters over reloads. The
 * queue holds the requests that wait, ten lists by priority, each in order of
 * arrival. A lane pulls the oldest of the best priority over all apps that its worker
 * hosts. Bounded by the app's max_queue and by max_queue over all. */
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
        *spec;        /* of the newest plan that has it; set before it is shown */
    uint32_t index;   /* unique among those that live, small */
    uint32_t refs;    /* plans that have it */
    uint32_t hosts;   /* slots that host it */
    bool shown;       /* callers reach it: it is in arbiter.apps_by_name */
    app *prev, *next; /* of arbiter.apps */
    uint32_t queued;
    uint16_t waiting_bits; /* bit p set: waiting[p] is not empty */
    request *waiting[DIRTY_PRIORITY_LAST + 1];
    meter meter;
    uint64_t run_ns_mean; /* moving mean over the last ~16 calls, for retry_after_ms */
    uint64_t values;
    uint64_t errors[DIRTY_CODE_LAST + 1];
    UT_hash_handle hh;
};

/* The app of this name, made if there is none, with one reference more. NULL: no memory.
 */
app *app_take(arbiter *a, const char *name);
void app_unref(arbiter *a, app *p);

/* Let callers reach it, or not any more. Idempotent. */
void app_show(arbiter *a, app *p);
void app_hide(arbiter *a, app *p);

/* NULL: no app of this name is served. */
app *app_find(arbiter *a, dirty_slice name);

/* Is there room for one more request of the app? */
bool app_has_room(const arbiter *a, const app *p);

/* How long until a refused caller has a fair chance, from queue length and run times. */
uint32_t app_retry_after_ms(const app *p, uint32_t threads);

/* Put a request (its app, priority and order are set) into the queue of its app, at its
 * place by order: a request that came back unstarted goes before younger ones. */
void app_enqueue(arbiter *a, request *r);

/* Take it out again. */
void app_dequeue(arbiter *a, request *r);

/* When the request that waits longest for the app arrived, 0: none waits. */
uint64_t app_oldest_ns(const app *p);

/* Count a finished request of the app. p NULL: it was for none that is served. */
void app_count(arbiter *a, app *p, const meter_sample *sample);

#endif
