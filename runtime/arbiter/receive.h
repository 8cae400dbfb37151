/* receive: the reading of requests from a session's connection: their first bytes, early
 * ones of the next request, and the rest of those that a lane gave back. */
#ifndef DIRTY_ARBITER_RECEIVE_H
#define DIRTY_ARBITER_RECEIVE_H

#include "arbiter/session.h"

/* IDLE and READING: take what is there and see whether it makes a request. */
void receive_request(session *s);

/* IDLE: look at the request whose bytes are in `in` already, or at the end of input. */
void receive_next(session *s);

/* RUNNING, the request read whole: what comes now belongs to the next one. */
void receive_early(session *s);

/* GATHERING: take what has come of the rest. */
void receive_rest(session *s);

#endif
