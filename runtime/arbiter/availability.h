/* availability: which workers can serve an app, and whether a request for it has
 * hope. */
#ifndef DIRTY_ARBITER_AVAILABILITY_H
#define DIRTY_ARBITER_AVAILABILITY_H

#include "arbiter/slot.h"

/* Can a request for the app expect a worker? False while the circuits of all slots that
 * host the app are open: their workers failed to boot BREAKER_FAILURES times in a
 * row. */
bool availability_has_hope(const arbiter *a, const app *what);

/* Returns how many ms remain until the next boot attempt of a slot that hosts the
 * app. */
uint32_t availability_retry_after_ms(const arbiter *a, const app *what);

/* Returns why no worker can serve the app, "" if unknown. */
const char *availability_fault(const arbiter *a, const app *what);

/* Returns how many workers serve the app. */
uint32_t availability_ready_count(const arbiter *a, const app *what);

/* Does every app have a ready worker? */
bool availability_serves_all(const arbiter *a);

#endif
