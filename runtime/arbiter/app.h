/* app: one dirty app as the arbiter sees it, with the queue of its requests.
 *
 * The queue holds sessions in SESSION_QUEUED, ten lists by priority, each in order of
 * arrival. A lane pulls the oldest of the best priority over all apps that its worker
 * hosts. Bounded by the app's max_queue and by max_queue over all. */
#ifndef DIRTY_ARBITER_APP_H
#define DIRTY_ARBITER_APP_H

#include <uthash.h>

#include "arbiter/state.h"
#include "base/slice.h"
#include "wire/request.h"

struct app {
    const dirty_app_spec *spec; /* borrowed */
    uint32_t index;             /* in arbiter.apps */
    uint32_t hosts;             /* places that host it */
    uint32_t queued;
    uint16_t waiting_bits; /* bit p set: waiting[p] is not empty */
    session *waiting[DIRTY_PRIORITY_LAST + 1];
    uint64_t run_ns_mean; /* moving mean over the last ~16 calls, for retry_after_ms */
    uint64_t values;
    uint64_t errors[DIRTY_CODE_LAST + 1];
    UT_hash_handle hh;
};

/* Make the table from a->o->apps. 0 or -ENOMEM. */
int apps_init(arbiter *a);
void apps_deinit(arbiter *a);

/* NULL: no app of this name. */
app *app_find(arbiter *a, dirty_slice name);

/* Is there room for one more request of the app? */
bool app_has_room(const arbiter *a, const app *p);

/* How long until a refused caller has a fair chance, from queue length and run times. */
uint32_t app_retry_after_ms(const app *p, uint32_t threads);

/* Put a session (its app, priority and order are set) into the queue of its app, at its
 * place by order: a request that came back unstarted goes before younger ones. */
void app_enqueue(arbiter *a, session *s);

/* Take it out again. */
void app_dequeue(arbiter *a, session *s);

/* Count an outcome: 0 a value, else an error code. run_ns 0: the app did not run. */
void app_count(arbiter *a, app *p, unsigned outcome, uint64_t run_ns);

#endif
