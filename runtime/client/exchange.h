/* exchange: one call in progress: a request being sent, an answer being read.
 *
 *   CLOSED ──connect──► IDLE ──send──► WAITING ──terminal frame──► IDLE
 *      ▲                 │                │
 *      └─────────────────┴────────────────┴── any doubt about what comes next
 *
 * A connection is kept only if the server will certainly read the next request from it.
 * The functions return 0, or a code DIRTY_E… with the client's failure set. They have
 * closed the connection if it is unusable. */
#ifndef DIRTY_EXCHANGE_H
#define DIRTY_EXCHANGE_H

#include "client/internal.h"
#include "client/reply.h"

/* Returned instead of a code: the request reached nobody, so it may be sent again. The
 * failure is set as well, in case this was already the second try. */
#define DIRTY_EXCHANGE_RETRY 1
/* It would block; only if x->nonblocking. Call again later. */
#define DIRTY_EXCHANGE_AGAIN 2

typedef struct dirty_exchange {
    dirty_client *client;
    const dirty_request *request;
    uint32_t budget_ms;
    uint64_t start_ns;
    uint64_t deadline_ns; /* end of the budget */
    uint64_t until_ns; /* end of the budget plus the margin for the server's own answer */
    bool nonblocking;  /* return AGAIN instead of waiting */
    bool streams;      /* accept CHUNK and END */
    dirty_outgoing out;
    bool out_begun;
    bool sent_whole;
    bool send_failed;       /* the peer was gone before it had the whole request */
    const char *started;    /* whether the app has started: "no", "unknown", "yes" */
    bool in_payload;        /* the header of a frame was read, its payload was not */
    dirty_frame frame;      /* that frame */
    uint32_t have;          /* payload bytes received */
    uint8_t *error_payload; /* owned; payload of an ERROR that is being read */
    dirty_reply *reply;     /* owned; result or chunk, complete if not in_payload */
    bool ended;             /* the terminal frame was read */
} dirty_exchange;

/* Prepare a call of `r` by `c` that begins now. Sets the failure if `r` is invalid. */
int dirty_exchange_init(dirty_exchange *x, dirty_client *c, const dirty_request *r);

/* Free what an abandoned exchange holds. */
void dirty_exchange_deinit(dirty_exchange *x);

/* The steps of a call, in this order. Each returns 0, a code or AGAIN. The last two may
 * also return RETRY: then start with the first step again, once. */
int dirty_exchange_connect(dirty_exchange *x);
int dirty_exchange_send(dirty_exchange *x);        /* after AGAIN it continues */
int dirty_exchange_read_answer(dirty_exchange *x); /* sets x->reply */

/* All three steps. Retries on a second connection if the first provably reached
 * nobody. */
int dirty_exchange_start(dirty_exchange *x);

/* Call this after the terminal frame. Closes the connection if input follows it, or if
 * part of the request is still unsent. */
void dirty_exchange_settle(dirty_exchange *x);

/* Add what is known of the call to the failure, if there is one. Returns the code or
 * 0. */
int dirty_exchange_describe(dirty_exchange *x);

/* Set the failure for a call without an answer in time. */
int dirty_exchange_fail_timeout(dirty_exchange *x);

/* Fail a call whose caller has given no place for the reply. Returns DIRTY_EINVALID. */
int dirty_refuse_no_place(dirty_client *c);

#endif
