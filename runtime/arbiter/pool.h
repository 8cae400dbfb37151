/* pool: all slots, and through them all workers.
 *
 * The first plan->slot_count slots are to be filled. A slot is never removed: one that is
 * not needed stays empty, with what is known of its last worker. */
#ifndef DIRTY_ARBITER_POOL_H
#define DIRTY_ARBITER_POOL_H

#include "arbiter/slot.h"

/* Make slots for the current plan and start a worker in each. 0 or a negative code. */
int pool_init(arbiter *a);

/* Fill or empty slots so that as many are filled as the current plan says. */
void pool_adjust(arbiter *a);

/* The slot of this number, made if it is new. NULL: no memory. */
slot *pool_slot(arbiter *a, uint32_t number);

/* Do what follows from what has become of workers (slot_look), once a turn. */
void pool_step(arbiter *a);

/* SIGCHLD: reap those of our workers that ended. */
void pool_reap(arbiter *a);

/* Count anew how many slots host each app. */
void pool_recount(arbiter *a);

/* Mark workers that are larger than max_rss for recycling. */
void pool_check_memory(arbiter *a);

/* One worker more or less than now. 0, or -1 with the reason in `why`. */
int pool_scale(arbiter *a, int delta, char *why, size_t why_size);

/* Every slot that is to be filled has a ready worker. / No worker is left at all. */
bool pool_all_ready(const arbiter *a);
bool pool_all_gone(const arbiter *a);

/* Close the timers, so that the loop can run out; free, when all workers are gone. */
void pool_close(arbiter *a);
void pool_deinit(arbiter *a);

#endif
