#include "arbiter/availability.h"

#include <utlist.h>

#include "base/clock.h"

static bool hosts(const arbiter *a, uint32_t i, const app *what) {
    return i < a->plan->deal_count && deal_at(a->plan->deals[i], what) >= 0;
}

bool availability_has_hope(const arbiter *a, const app *what) {
    for (uint32_t i = 0; i < a->plan->slot_count && i < a->slot_room; i++) {
        const worker *w = a->slots[i]->worker;
        if (w != NULL && w->state == WORKER_READY && worker_hosts(w, what) >= 0)
            return true; /* its deal may differ from the plan */
        if (hosts(a, i, what) && !slot_is_open(a->slots[i]))
            return true;
    }
    return false;
}

uint32_t availability_retry_after_ms(const arbiter *a, const app *what) {
    uint64_t now_ns = dirty_now_ns(), best_ms = BACKOFF_LAST_MS;
    for (uint32_t i = 0; i < a->plan->slot_count && i < a->slot_room; i++) {
        uint64_t at_ns = a->slots[i]->respawn_at_ns;
        if (!hosts(a, i, what))
            continue;
        uint64_t ms = at_ns > now_ns ? (at_ns - now_ns) / DIRTY_NS_PER_MS + 1 : 10;
        if (ms < best_ms)
            best_ms = ms;
    }
    return (uint32_t)best_ms;
}

const char *availability_fault(const arbiter *a, const app *what) {
    for (uint32_t i = 0; i < a->plan->slot_count && i < a->slot_room; i++)
        if (hosts(a, i, what) && slot_is_open(a->slots[i]))
            return a->slots[i]->last_exit;
    return "";
}

uint32_t availability_ready_count(const arbiter *a, const app *what) {
    uint32_t ready = 0;
    const worker *w;
    DL_FOREACH (a->workers, w)
        ready += w->state == WORKER_READY && w->serves && worker_hosts(w, what) >= 0;
    return ready;
}

bool availability_serves_all(const arbiter *a) {
    for (uint32_t k = 0; k < a->o->app_count; k++)
        if (availability_ready_count(a, a->plan->apps[k]) == 0)
            return false;
    return true;
}
