/* refusal: the errors that the arbiter itself answers with. */
#ifndef DIRTY_ARBITER_REFUSAL_H
#define DIRTY_ARBITER_REFUSAL_H

#include "arbiter/session.h"

typedef struct refusal {
    dirty_code code;
    const char *started; /* "no", "yes", "unknown" */
    const char *phase;   /* "receive", "queue", "run" or NULL */
    const char *extra;   /* more members of details as JSON text, each led by a comma */
    bool end;            /* end the connection even if the request was read whole */
} refusal;

/* Answer the session's request with an error, count it, and go on as session_answer says.
 * The details carry app, action (where known), phase, elapsed_ms, started and extra. */
void refuse(session *s, const refusal *r, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The usual ones. */
void refuse_fault(session *s, dirty_wire_fault fault);
void refuse_app(session *s, dirty_slice name);
void refuse_removed(session *s);
void refuse_no_workers(session *s);
void refuse_overloaded(session *s);
void refuse_upload(session *s); /* slow uploads hold all the memory that they may */
void refuse_shutdown(session *s, const char *started);

/* Its worker has to go while the runtime goes on, and graceful_timeout is over. */
void refuse_retired(session *s, const worker *w, const char *started);
void refuse_timeout(session *s, const char *phase);
/* In a lane's stead, after an interrupt did not help: TIMEOUT or CANCELLED. */
void refuse_interrupted(session *s, dirty_code reason, bool started);

/* A new connection for which there is no room: OVERLOADED before its request is read, as
 * an answer of id 0, then its end. */
void refuse_connection(session *s, uint64_t connections_max);

#endif
