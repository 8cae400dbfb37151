/* availability: who hosts what, and whether there is hope for a request. */
#ifndef DIRTY_ARBITER_AVAILABILITY_H
#define DIRTY_ARBITER_AVAILABILITY_H

#include "arbiter/slot.h"

/* May a request for the app hope for a worker? False while the circuit of all slots
 * that host it is open: their workers failed to boot BREAKER_FAILURES times in a row. */
bool availability_has_hope(const arbiter *a, const app *what);

/* How long until the next boot of a slot that hosts the app is tried. */
uint32_t availability_retry_after_ms(const arbiter *a, const app *what);

/* What is known of why no worker can serve the app, "" if nothing is. */
const char *availability_fault(const arbiter *a, const app *what);

/* How many workers serve the app. */
uint32_t availability_ready_count(const arbiter *a, const app *what);

/* Does every app have a worker that is ready? */
bool availability_serves_all(const arbiter *a);

#endif
