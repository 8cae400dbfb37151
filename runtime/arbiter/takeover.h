/* takeover: the answers that the arbiter gives in a lane's stead, after it has won the
 * baton: to a call that does not stop, to one that a stop ends, to one whose worker died.
 */
#ifndef DIRTY_ARBITER_TAKEOVER_H
#define DIRTY_ARBITER_TAKEOVER_H

#include "arbiter/lane.h"

/* It was interrupted and its grace is over: take the baton and answer, or end the
 * connection whose frame never gets whole. Its worker is condemned. */
void takeover_overdue(lane *l);

/* Answer SHUTDOWN. */
void takeover_shutdown(lane *l);

/* Its worker is reaped and its channel drained: settle the request it had. */
void takeover_settle(lane *l, int wait_status);

#endif
