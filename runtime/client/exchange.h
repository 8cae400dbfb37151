/* exchange: one call under way: a request on its way out, an answer on its way in.
 *
 *   CLOSED ──connect──► IDLE ──send──► WAITING ──terminal frame──► IDLE
 *      ▲                 │                │
 *      └─────────────────┴────────────────┴── any doubt about what comes next
 *
 * A connection is kept only where the server will surely read the next request from it.
 * Functions here return 0 or a code DIRTY_E…, told in the client's failure; they have
 * closed the connection where it is not good any more. */
#ifndef DIRTY_EXCHANGE_H
#define DIRTY_EXCHANGE_H

#include "client/client.h"
#include "client/reply.h"

/* Returned in place of a code: the request reached nobody, it may be sent again. The
 * failure is told all the same, for the case that it was sent again already. */
#define DIRTY_EXCHANGE_RETRY 1

typedef struct dirty_exchange {
    dirty_client *client;
    const dirty_request *request;
    uint32_t budget_ms;
    uint64_t deadline_ns; /* the budget ends */
    uint64_t until_ns;    /* and the margin for the server's own answer, too */
    dirty_outgoing out;
    bool sent_whole;
    bool first_write_failed; /* no byte of the request went out */
    const char *started;     /* what is known of the app now: "no", "unknown", "yes" */
    dirty_reply *reply;      /* the result */
} dirty_exchange;

/* Read the answer: the RESPONSE to x->reply, or the ERROR to the failure. */
int dirty_exchange_read_answer(dirty_exchange *x);

/* Tell that no answer came in time. */
int dirty_exchange_fail_timeout(dirty_exchange *x);

#endif
