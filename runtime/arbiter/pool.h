/* pool: all slots, and through them all workers. The first plan->slot_count slots must
 * have workers. Slots are never removed: an unneeded slot stays empty and keeps the
 * record of its last worker. */
#ifndef DIRTY_ARBITER_POOL_H
#define DIRTY_ARBITER_POOL_H

#include "arbiter/slot.h"

/* Make the slots of the current plan and start a worker in each. Returns 0 or a
 * negative code. */
int pool_init(arbiter *a);

/* Start or drain workers until the current plan's number of slots is filled. */
void pool_adjust(arbiter *a);

/* Returns the slot of this number, made if it is new. NULL: no memory. */
slot *pool_slot(arbiter *a, uint32_t number);

/* Update the slots after changes of workers (slot_look), once per turn. */
void pool_step(arbiter *a);

/* Reap the workers that ended. Called on SIGCHLD. */
void pool_reap(arbiter *a);

/* Recount how many slots host each app. */
void pool_recount(arbiter *a);

/* Mark workers that are larger than max_rss for recycling. */
void pool_check_memory(arbiter *a);

/* Read the lanes' pages and counters: how much they have served, and with what result. */
void pool_read_pages(arbiter *a);

/* Change the number of workers by `delta`. Returns 0, or -1 with the reason in
 * `why`. */
int pool_scale(arbiter *a, int delta, char *why, size_t why_size);

/* Has every slot that must be filled a ready worker? */
bool pool_all_ready(const arbiter *a);

/* Is no worker left? */
bool pool_all_gone(const arbiter *a);

/* Close the timers, so that the loop can end. pool_deinit frees the slots after all
 * workers are gone. */
void pool_close(arbiter *a);
void pool_deinit(arbiter *a);

#endif
