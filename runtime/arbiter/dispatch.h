/* dispatch: reads requests from connections and decides what becomes of each: a lane
 * takes it, it waits in the queue of its app, the runtime's own app answers it, or it is
 * refused. And the other way round: a lane that is free takes the best that waits. */
#ifndef DIRTY_ARBITER_DISPATCH_H
#define DIRTY_ARBITER_DISPATCH_H

#include "arbiter/conn.h"

/* A lane that has nothing to do: give it the best waiting request, or note it as idle. */
void dispatch_pull(lane *l);

/* A request waits that was not offered to the lanes that are idle: offer it. */
void dispatch_rematch(arbiter *a);

/* Callers don't reach the app any more, and those that wait for it are told. */
void dispatch_drop_app(arbiter *a, app *gone);

/* Tell those that wait for what no worker can serve. */
void dispatch_fail_hopeless(arbiter *a);

/* IDLE and READING: take what is there and see whether it makes a request. */
void dispatch_input(conn *c);

/* IDLE: look at the request whose bytes are in `in` already, or at the end of input. */
void dispatch_next(conn *c);

/* RUNNING, the request read whole: what comes now belongs to the next one. */
void dispatch_early(conn *c);

/* GATHERING: take what has come of the rest. */
void dispatch_rest(conn *c);

#endif
