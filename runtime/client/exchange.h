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

#include "client/internal.h"
#include "client/reply.h"

/* Returned in place of a code: the request reached nobody, it may be sent again. The
 * failure is told all the same, for the case that it was sent again already. */
#define DIRTY_EXCHANGE_RETRY 1
/* Nothing can be done without waiting (only where x->nonblocking). Call again later. */
#define DIRTY_EXCHANGE_AGAIN 2

typedef struct dirty_exchange {
    dirty_client *client;
    const dirty_request *request;
    uint32_t budget_ms;
    uint64_t start_ns;
    uint64_t deadline_ns; /* the budget ends */
    uint64_t until_ns;    /* and the margin for the server's own answer, too */
    bool nonblocking;     /* never wait: return AGAIN */
    bool streams;         /* CHUNK and END are welcome */
    dirty_outgoing out;
    bool out_begun;
    bool sent_whole;
    bool first_write_failed; /* no byte of the request went out */
    const char *started;     /* what is known of the app now: "no", "unknown", "yes" */
    bool in_payload;         /* the header of a frame was taken, its payload was not */
    dirty_frame frame;       /* it */
    uint32_t have;           /* payload bytes that came */
    uint8_t *error_payload;  /* owned; of an ERROR under way */
    dirty_reply *reply; /* owned; the result or chunk, whole once in_payload is false */
    bool ended;         /* the terminal frame came */
} dirty_exchange;

/* Prepare a call of r by c that begins now; tells what is wrong with r. */
int dirty_exchange_init(dirty_exchange *x, dirty_client *c, const dirty_request *r);

/* Free what an exchange that is given up holds. */
void dirty_exchange_deinit(dirty_exchange *x);

/* The steps of a call, in this order; each 0, a code, AGAIN, or RETRY (of the last two
 * steps: begin with the first again, once). */
int dirty_exchange_connect(dirty_exchange *x);
int dirty_exchange_send(dirty_exchange *x); /* after AGAIN it goes on where it was */
int dirty_exchange_read_answer(dirty_exchange *x); /* a RESPONSE or CHUNK to x->reply */

/* All three, on a second connection where the first provably reached nobody. */
int dirty_exchange_start(dirty_exchange *x);

/* After the terminal frame nothing may follow, and nothing may be left to send: else the
 * connection is closed. */
void dirty_exchange_settle(dirty_exchange *x);

/* Complete the failure, if there is one, by what is known of the call. The code or 0. */
int dirty_exchange_describe(dirty_exchange *x);

/* Tell that no answer came in time. */
int dirty_exchange_fail_timeout(dirty_exchange *x);

#endif
