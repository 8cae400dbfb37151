/* reply: the errors that the arbiter itself answers with. */
#ifndef DIRTY_ARBITER_REPLY_H
#define DIRTY_ARBITER_REPLY_H

#include "arbiter/conn.h"

typedef struct error_reply {
    dirty_code code;
    const char *started; /* "no", "yes", "unknown" */
    const char *phase;   /* "receive", "queue", "run" or NULL */
    const char *extra;   /* more members of details as JSON text, each led by a comma */
    bool end;            /* end the connection even if the request was read whole */
} error_reply;

/* Answer the connection's request with an error, count it, and go on as conn_answer says.
 * The details carry app, action (where known), phase, elapsed_ms, started and extra. */
void reply_error(conn *c, const error_reply *r, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The usual ones. */
void reply_wire_fault(conn *c, dirty_wire_fault fault);
void reply_no_app(conn *c, dirty_slice name);
void reply_app_removed(conn *c);
void reply_no_workers(conn *c);
void reply_overloaded(conn *c);
void reply_uploads_full(conn *c); /* slow uploads hold all the memory that they may */
void reply_shutdown(conn *c, const char *started);

/* The worker must go, but the runtime goes on, and the call has run for longer than
 * graceful_timeout. */
void reply_worker_retired(conn *c, const worker *w, const char *started);
void reply_timeout(conn *c, const char *phase);
/* The lane did not stop after the interrupt, so the arbiter answers for it: TIMEOUT or
 * CANCELLED. */
void reply_interrupted(conn *c, dirty_code reason, bool started);

/* A new connection for which there is no room: OVERLOADED before its request is read, as
 * an answer of id 0, then its end. */
void reply_too_many_conns(conn *c, uint64_t connections_max);

#endif
