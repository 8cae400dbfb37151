/* slot: a seat for a worker: its number, and how its workers fared.
 *
 * A slot that is to be filled (its number is at most plan->slot_count) has a worker, or
 * waits to get one. After a worker died it is filled again: at once if it had been ready,
 * else after a backoff that doubles; after some failed boots its circuit is open, and
 * requests that only such slots could serve get NO_WORKERS at once. To replace a worker
 * that lives, the next one boots beside it; once that is ready it is promoted, and the
 * old one drains. */
#ifndef DIRTY_ARBITER_SLOT_H
#define DIRTY_ARBITER_SLOT_H

#include "arbiter/plan.h"
#include "arbiter/internal.h"
#include "arbiter/worker.h"

/* Why a worker has to go, for the callers that it can't serve to the end. */
#define SLOT_RELOADED "was replaced by a reload"
#define SLOT_RECYCLED "was recycled"

struct slot {
    arbiter *a;
    uint32_t number;  /* 1.. */
    worker *worker;   /* the one that serves or will; NULL: empty */
    worker *next;     /* its replacement, while that boots or is held; may be NULL */
    bool hold_next;   /* a ready `next` waits to be promoted by the reload */
    bool next_failed; /* the last `next` died before it was promoted */
    bool next_killed; /* … by a signal from outside: it says nothing of its code */
    uint32_t generation;
    uint32_t failures;      /* boots that failed in a row */
    uint32_t quick_deaths;  /* of ready workers that had served nothing, in a row */
    uint64_t respawn_at_ns; /* when a pause before the next boot is over, 0: none */
    uv_timer_t respawn;
    bool boot_failed;   /* … just now: quarantine has to look at it (quarantine.h) */
    const app *culprit; /* … at this app, beside others; NULL: at none that is known */
    const app *blamed;  /* which app the last boots failed at; only to be compared */
    uint32_t blamed_count;
    char last_exit[256]; /* how the last worker ended, "" if none did */
};

/* Make slots for the current plan and start a worker in each. 0 or a negative code. */
int pool_init(arbiter *a);

/* Fill or empty slots so that as many are filled as the current plan says. */
void pool_adjust(arbiter *a);

/* The slot of this number, made if it is new. NULL: no memory. */
slot *slot_get(arbiter *a, uint32_t number);

/* Close the timers, so that the loop can run out; free, when all workers are gone. */
void pool_close(arbiter *a);
void pool_deinit(arbiter *a);

/* SIGCHLD: reap those of our workers that ended. */
void pool_reap(arbiter *a);

/* Boot a replacement by the given plan beside the worker that is there. 0 or -errno. */
int slot_start_next(slot *p, plan *by, bool hold);

/* `next` takes the slot, the old worker drains. */
void slot_promote(slot *p);

/* Count anew how many slots host each app. */
void pool_recount(arbiter *a);

/* Look for workers that are larger than max_rss. */
void pool_check_memory(arbiter *a);

/* Fill the slot because its circuit is open from the start: `why` its apps can't boot.
 */
void slot_set_open(slot *p, const char *why);

/* What follows from what has become of workers: those that are ready get their slot,
 * those that are gone leave it, and it is filled again. */
void pool_step(arbiter *a);

/* Fill it at once, whatever pause its former failures would make. */
void slot_fill_now(slot *p);

/* One worker more or less than now. 0, or -1 with the reason in `why`. */
int pool_scale(arbiter *a, int delta, char *why, size_t why_size);

#endif
