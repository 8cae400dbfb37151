/* intake: from the first bytes of a request to its fate: dispatched, queued, answered by
 * the arbiter's own services, or refused. */
#ifndef DIRTY_ARBITER_INTAKE_H
#define DIRTY_ARBITER_INTAKE_H

#include "arbiter/session.h"

typedef enum intake_result {
    INTAKE_MORE, /* nothing decided: wait for more bytes */
    INTAKE_TAKEN /* the session's state has moved on */
} intake_result;

/* Look at the bytes of the session's next request. `bytes` is s->in or the arbiter's
 * scratch; `full` says that no more will be read before it is passed on. What of scratch
 * is to be kept is copied into s->in. */
intake_result intake_look(session *s, const uint8_t *bytes, size_t len, bool full);

#endif
