/* place: a seat for a worker: its number, and how its workers fared.
 *
 * A place that is to be filled (its number is at most plan->place_count) has a worker, or
 * waits to get one. After a worker died it is filled again: at once if it had been ready,
 * else after a backoff that doubles; after some failed boots its circuit is open, and
 * requests that only such places could serve get NO_WORKERS at once. To replace a worker
 * that lives, the next one boots beside it; once that is ready it is promoted, and the
 * old one drains. */
#ifndef DIRTY_ARBITER_PLACE_H
#define DIRTY_ARBITER_PLACE_H

#include "arbiter/plan.h"
#include "arbiter/state.h"
#include "arbiter/worker.h"

/* Why a worker has to go, for the callers that it can't serve to the end. */
#define PLACE_RELOADED "was replaced by a reload"
#define PLACE_RECYCLED "was recycled"

struct place {
    arbiter *a;
    uint32_t number;  /* 1.. */
    worker *worker;   /* the one that serves or will; NULL: empty */
    worker *next;     /* its replacement, while that boots or is held; may be NULL */
    bool hold_next;   /* a ready `next` waits to be promoted by the roll */
    bool next_failed; /* the last `next` died before it was promoted */
    bool next_killed; /* … by a signal from outside: it says nothing of its code */
    uint32_t generation;
    uint32_t failures;      /* boots that failed in a row */
    uint32_t quick_deaths;  /* of ready workers that had served nothing, in a row */
    uint64_t respawn_at_ns; /* when a pause before the next boot is over, 0: none */
    uv_timer_t respawn;
    const app *blamed; /* which app the last boots failed at; only to be compared */
    uint32_t blamed_count;
    char last_exit[256]; /* how the last worker ended, "" if none did */
};

/* Make places for the current plan and start a worker in each. 0 or a negative code. */
int places_init(arbiter *a);

/* Fill or empty places so that as many are filled as the current plan says. */
void places_adjust(arbiter *a);

/* The place of this number, made if it is new. NULL: no memory. */
place *place_get(arbiter *a, uint32_t number);

/* Close the timers, so that the loop can run out; free, when all workers are gone. */
void places_close(arbiter *a);
void places_deinit(arbiter *a);

/* SIGCHLD: reap those of our workers that ended. */
void places_reap(arbiter *a);

/* Boot a replacement by the given plan beside the worker that is there. 0 or -errno. */
int place_start_next(place *p, plan *by, bool hold);

/* `next` takes the place, the old worker drains. */
void place_promote(place *p);

/* Replace its worker `w` because of `why` ("max_requests", "max_rss"): the replacement
 * boots first. Does nothing where one boots already or a reload is under way. */
void place_recycle(place *p, worker *w, const char *why);

/* Count anew how many places host each app. */
void places_recount(arbiter *a);

/* Look for workers that are larger than max_rss. */
void places_check_memory(arbiter *a);

/* Is the circuit of the place open? */
bool place_is_open(const place *p);

/* May a request for the app hope for a worker? False while the circuit of all places
 * that host it is open: their workers failed to boot BREAKER_FAILURES times in a row. */
bool places_have_hope(const arbiter *a, const app *what);

/* How long until the next boot of a place that hosts the app is tried. */
uint32_t places_retry_after_ms(const arbiter *a, const app *what);

/* What is known of why no worker can serve the app, "" if nothing is. */
const char *places_fault(const arbiter *a, const app *what);

/* Fill the place because its circuit is open from the start: `why` its apps can't boot.
 */
void place_set_open(place *p, const char *why);

/* How many workers serve the app. */
uint32_t places_ready_for(const arbiter *a, const app *what);

/* Does every app have a worker that is ready? */
bool places_serve_all(const arbiter *a);

/* A worker became ready, or is gone (`how` tells why, was_ready if it had been). */
void place_worker_ready(place *p, worker *w);
void place_worker_gone(place *p, worker *w, bool was_ready, const char *how);

/* Every place that is to be filled has a ready worker. / No worker is left at all. */
bool places_all_ready(const arbiter *a);
bool places_all_gone(const arbiter *a);

/* One worker more or less than now. 0, or -1 with the reason in `why`. */
int places_scale(arbiter *a, int delta, char *why, size_t why_size);

#endif
