/* takeover: the answers that the arbiter gives in a lane's stead, after it has won the
 * baton: to a call that does not stop, to one that a stop ends, to one whose worker died.
 */
#ifndef DIRTY_ARBITER_TAKEOVER_H
#define DIRTY_ARBITER_TAKEOVER_H

#include "arbiter/lane.h"

/* The lane was interrupted and its grace is over. Take the baton and answer. If the lane
 * stands inside a frame, end the connection instead. Condemns the worker. */
void takeover_overdue(lane *l);

/* Answer SHUTDOWN. */
void takeover_shutdown(lane *l);

/* The worker is reaped and its channel read to the end. Answer the last request of the
 * lane. */
void takeover_settle(lane *l, int wait_status);

#endif
