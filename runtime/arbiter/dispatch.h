/* dispatch: reads requests from connections and decides what becomes of each: a lane
 * takes it, it waits in the queue of its app, the runtime's own app answers it, or it is
 * refused. It also gives a free lane the oldest request of the best priority. */
#ifndef DIRTY_ARBITER_DISPATCH_H
#define DIRTY_ARBITER_DISPATCH_H

#include "arbiter/conn.h"

/* A lane that has nothing to do: give it the best waiting request, or note it as idle. */
void dispatch_pull(lane *l);

/* Offer queued requests to idle lanes, if they were not offered yet. */
void dispatch_rematch(arbiter *a);

/* Hide the app from callers. Answer the requests that wait for it. */
void dispatch_drop_app(arbiter *a, app *gone);

/* Answer NO_WORKERS to queued requests that no worker can serve. */
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
