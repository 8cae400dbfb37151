/* place: a seat for a worker: its number, its apps, and how its workers fared.
 *
 * The apps of a place are dealt once from the apps' limits; a replacement worker gets
 * exactly the dead one's apps because it fills the same place. After a worker died the
 * place is filled again: at once if it had served, else after a backoff that doubles. */
#ifndef DIRTY_ARBITER_PLACE_H
#define DIRTY_ARBITER_PLACE_H

#include "arbiter/state.h"
#include "arbiter/worker.h"

struct place {
    arbiter *a;
    uint32_t number;              /* 1.. */
    const dirty_app_spec **specs; /* owned array of borrowed specs */
    app **apps;                   /* owned array, same order */
    int16_t *app_at;              /* owned, by app index: position in apps, -1 */
    uint32_t app_count;
    worker *worker; /* NULL: empty */
    uint32_t generation;
    uint32_t failures; /* deaths in a row without a served request */
    uv_timer_t respawn;
    uint64_t respawn_at_ns; /* 0: not waiting */
    char last_exit[160];    /* how the last worker ended, "" if none did */
};

/* Deal the apps and start a worker in each place. 0 or a negative code. */
int places_init(arbiter *a);

/* Close timers, free. All workers must be gone. */
void places_deinit(arbiter *a);

/* Close the timers, so that the loop can run out. */
void places_close(arbiter *a);

/* SIGCHLD: reap those of our workers that ended. */
void places_reap(arbiter *a);

/* The worker of the place is gone; fill it again. */
void place_worker_gone(place *p, bool was_ready, const char *how);

/* Every worker of every place is ready / gone. */
bool places_all_ready(const arbiter *a);
bool places_all_gone(const arbiter *a);

#endif
