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
    uint64_t start_ns;
    uint64_t deadline_ns; /* the budget ends */
    uint64_t until_ns;    /* and the margin for the server's own answer, too */
    dirty_outgoing out;
    bool sent_whole;
    bool first_write_failed; /* no byte of the request went out */
    const char *started;     /* what is known of the app now: "no", "unknown", "yes" */
    dirty_reply *reply;      /* the result, or the chunk that came */
    bool streams;            /* CHUNK and END are welcome */
    bool ended;              /* the terminal frame came */
} dirty_exchange;

/* Prepare a call of r by c that begins now; tells what is wrong with r. */
int dirty_exchange_init(dirty_exchange *x, dirty_client *c, const dirty_request *r);

/* Connect, send the request and read the first frame, on a second connection where the
 * first provably reached nobody. 0, or a code. */
int dirty_exchange_start(dirty_exchange *x);

/* Read a frame: a RESPONSE or CHUNK to x->reply, an ERROR to the failure. */
int dirty_exchange_read_answer(dirty_exchange *x);

/* After the terminal frame nothing may follow, and nothing may be left to send: else the
 * connection is closed. */
void dirty_exchange_settle(dirty_exchange *x);

/* Complete the failure, if there is one, by what is known of the call. The code or 0. */
int dirty_exchange_describe(dirty_exchange *x);

/* Tell that no answer came in time. */
int dirty_exchange_fail_timeout(dirty_exchange *x);

#endif
