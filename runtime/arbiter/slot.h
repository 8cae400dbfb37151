/* slot: the numbered place of one worker process, and the history of its workers.
 *
 * Slots 1 to plan->slot_count are in use: each has a worker or waits for one. When a
 * worker dies, the slot is filled again:
 *   - at once if the worker had been ready, or was killed from outside while it booted;
 *     after several quick deaths in a row, after a short pause;
 *   - after a failed boot, with a pause that doubles.
 * After several failed boots the circuit of the slot opens. Requests that only slots with
 * an open circuit could serve get NO_WORKERS at once.
 * To replace a worker that lives, the next one boots beside it. When the next one is
 * ready, it is promoted and the old one drains. */
#ifndef DIRTY_ARBITER_SLOT_H
#define DIRTY_ARBITER_SLOT_H

#include "arbiter/plan.h"
#include "arbiter/internal.h"
#include "arbiter/worker.h"

/* Why a worker has to go, for the callers that it can't serve to the end. */
#define SLOT_RELOADED "was replaced by a reload"
#define SLOT_RECYCLED "was recycled"

/* The first failed boot causes no pause. After that the pause doubles from the first
 * value to the last. */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 30000
/* Failed boots in a row that open the circuit. */
#define BREAKER_FAILURES 5

struct slot {
    arbiter *a;
    uint32_t number;  /* 1.. */
    worker *worker;   /* the one that serves or will; NULL: empty */
    worker *next;     /* its replacement, while that boots or is held; may be NULL */
    bool hold_next;   /* a ready `next` waits until the reload promotes it */
    bool next_failed; /* the last `next` died before it was promoted */
    bool next_killed; /* a signal from outside killed it: no fault of its code */
    uint32_t generation;
    uint32_t failures;      /* boots that failed in a row */
    uint32_t quick_deaths;  /* of ready workers that had served nothing, in a row */
    uint64_t respawn_at_ns; /* when a pause before the next boot is over, 0: none */
    uv_timer_t respawn;
    bool boot_failed;   /* just now: quarantine_step looks at it */
    const app *culprit; /* the app that the last boot failed at; NULL: not known */
    const app *blamed;  /* which app the last boots failed at; only to be compared */
    uint32_t blamed_count;
    char last_exit[256]; /* how the last worker ended, "" if none did */
};

/* Start a worker in it, by the current plan. 0 or -errno. */
int slot_fill(slot *p);

/* Fill it in so many ms. */
void slot_fill_after(slot *p, uint32_t ms);

/* Fill it at once, whatever pause its former failures would make. */
void slot_fill_now(slot *p);

/* Open its circuit before the first boot, because of `why`. */
void slot_set_open(slot *p, const char *why);

/* Is its circuit open: have its workers failed to boot BREAKER_FAILURES times in a row?
 */
static inline bool slot_is_open(const slot *p) {
    return p->failures >= BREAKER_FAILURES;
}

/* Boot a replacement by the given plan beside the worker that is there. 0 or -errno. */
int slot_start_next(slot *p, plan *by, bool hold);

/* `next` takes the slot, the old worker drains. */
void slot_promote(slot *p);

/* Act on the state of the worker, once a turn. A worker that became ready starts to
 * serve. One that is marked for recycling gets a replacement. One that drains for too
 * long is killed. One that is gone leaves the slot, which is filled again. */
void slot_look(worker *w);

#endif
