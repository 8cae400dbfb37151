/* reply: error answers of the arbiter itself. */
#ifndef DIRTY_ARBITER_REPLY_H
#define DIRTY_ARBITER_REPLY_H

#include "arbiter/conn.h"

typedef struct error_reply {
    dirty_code code;
    const char *started; /* "no", "yes", "unknown" */
    const char *phase;   /* "receive", "queue", "run" or NULL */
    const char *extra;   /* more members of details as JSON text, each after a comma */
    bool end;            /* end the connection even if the request was read whole */
} error_reply;

/* Answer the connection's request with an error, count it, and continue as described at
 * conn_answer. The details have app and action (if known), phase, elapsed_ms, started
 * and extra. */
void reply_error(conn *c, const error_reply *r, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Common errors. */
void reply_wire_fault(conn *c, dirty_wire_fault fault);
void reply_no_app(conn *c, dirty_slice name);
void reply_app_removed(conn *c);
void reply_no_workers(conn *c);
void reply_overloaded(conn *c);
void reply_uploads_full(conn *c); /* slow uploads use all memory they may use */
void reply_shutdown(conn *c, const char *started);

/* The worker must end but the runtime continues, and the call has run for longer than
 * graceful_timeout. */
void reply_worker_retired(conn *c, const worker *w, const char *started);
void reply_timeout(conn *c, const char *phase);
/* Answer TIMEOUT or CANCELLED for a lane that did not stop after the interrupt. */
void reply_interrupted(conn *c, dirty_code reason, bool started);

/* Answer a new connection that has no room with OVERLOADED, before its request is read
 * and with id 0. Then end it. */
void reply_too_many_conns(conn *c, uint64_t connections_max);

#endif
