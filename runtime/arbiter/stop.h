/* stop: the end of the runtime.
 *
 *   SERVING ─stop_gracefully─► DRAINING ─all finished─► ENDING ─workers gone─► finished
 *       └───────────────────stop_now─────────────────────┘
 */
#ifndef DIRTY_ARBITER_STOP_H
#define DIRTY_ARBITER_STOP_H

#include "arbiter/internal.h"

/* Stop accepting, and finish accepted requests within graceful_timeout. The second call
 * stops at once. */
void stop_gracefully(arbiter *a);

/* The same, for a runtime that another one succeeds at the socket: nobody is refused.
 * Accepted connections are served, and ended between two requests (conn_let_go). */
void stop_departing(arbiter *a);

/* End now. Answer SHUTDOWN to all requests that wait or run. Kill the workers. `status`
 * is what dirty_arbiter_run returns if nothing went wrong before. */
void stop_now(arbiter *a, int status);

/* Continue a stop. Returns true once, when the last worker is gone. */
bool stop_step(arbiter *a);

#endif
