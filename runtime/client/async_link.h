/* async_link: one connection of an event-driven client, and the call that has it.
 *
 *   CONNECTING ──► SENDING ──► READING ──terminal frame──► IDLE
 *        └────────────┴───────────┴── not good any more ──► closed
 *
 * It steps through an exchange that never waits. Sans-loop: it says which events it wants
 * and what a step came to; dirty_async owns it, registers it and calls back. */
#ifndef DIRTY_ASYNC_LINK_H
#define DIRTY_ASYNC_LINK_H

#include "client/exchange.h"

typedef enum dirty_link_state {
    DIRTY_LINK_IDLE,       /* connected or not, no call */
    DIRTY_LINK_CONNECTING, /* the backlog was full: try again soon */
    DIRTY_LINK_SENDING,
    DIRTY_LINK_READING
} dirty_link_state;

typedef enum dirty_link_step {
    DIRTY_LINK_WAITS, /* for its events, or for another try to connect */
    DIRTY_LINK_CHUNK, /* x.reply holds a chunk */
    DIRTY_LINK_ENDS   /* x.reply holds the result, or the failure is told */
} dirty_link_step;

struct dirty_async_call;

typedef struct dirty_link {
    dirty_client client; /* a connection with its failure; never seen by users */
    dirty_exchange x;
    dirty_link_state state;
    bool retried;
    struct dirty_async_call *call; /* borrowed; NULL in IDLE */
    struct dirty_link *prev, *next;
    uint32_t events; /* registered with epoll, 0: not registered */
    unsigned born;   /* conn.born of the connection that they are registered for */
    bool dead;       /* closed; freed at the end of the round */
    bool kicked;     /* to be driven by the timer: what it waits for shows no event */
    uint64_t round;  /* of dirty_async.round: driven by the timer in this one */
} dirty_link;

/* Begin a call. The times of x were set by the caller's clock. */
void dirty_link_begin(dirty_link *l, const dirty_exchange *x);

/* Go on as far as it goes without waiting. */
dirty_link_step dirty_link_go(dirty_link *l);

/* The events it waits for: EPOLLIN, EPOLLOUT; 0 while it has no connection. */
uint32_t dirty_link_wants(const dirty_link *l);

#endif
