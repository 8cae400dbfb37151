/* availability: who hosts what, and whether there is hope for a request. */
#ifndef DIRTY_ARBITER_AVAILABILITY_H
#define DIRTY_ARBITER_AVAILABILITY_H

#include "arbiter/slot.h"

/* Backoff of a slot whose workers fail to boot: none after the first failure, then it
 * doubles from the first to the last. */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 30000
/* Failed boots in a row that open the circuit. */
#define BREAKER_FAILURES 5

/* Is the circuit of the slot open? */
bool slot_is_open(const slot *p);

/* May a request for the app hope for a worker? False while the circuit of all slots
 * that host it is open: their workers failed to boot BREAKER_FAILURES times in a row. */
bool pool_have_hope(const arbiter *a, const app *what);

/* How long until the next boot of a slot that hosts the app is tried. */
uint32_t pool_retry_after_ms(const arbiter *a, const app *what);

/* What is known of why no worker can serve the app, "" if nothing is. */
const char *pool_fault(const arbiter *a, const app *what);

/* How many workers serve the app. */
uint32_t pool_ready_for(const arbiter *a, const app *what);

/* Does every app have a worker that is ready? */
bool pool_serve_all(const arbiter *a);

/* Every slot that is to be filled has a ready worker. / No worker is left at all. */
bool pool_all_ready(const arbiter *a);
bool pool_all_gone(const arbiter *a);

#endif
