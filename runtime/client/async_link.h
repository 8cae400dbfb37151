/* async_link: one connection of an event-driven client, with the call it carries.
 *
 *   CONNECTING ──► SENDING ──► READING ──terminal frame──► IDLE
 *        └────────────┴───────────┴──── connection unusable ──► closed
 *
 * It steps through an exchange without blocking. Sans-loop: it says which events it waits
 * for and what a step resulted in. dirty_async owns it, registers it with epoll and calls
 * back. */
#ifndef DIRTY_ASYNC_LINK_H
#define DIRTY_ASYNC_LINK_H

#include "client/exchange.h"

typedef enum dirty_link_state {
    DIRTY_LINK_IDLE,       /* no call; connected or not */
    DIRTY_LINK_CONNECTING, /* the backlog was full; retry soon */
    DIRTY_LINK_SENDING,
    DIRTY_LINK_READING
} dirty_link_state;

typedef enum dirty_link_step {
    DIRTY_LINK_WAITS, /* waits for its events, or for the next try to connect */
    DIRTY_LINK_CHUNK, /* x.reply holds a chunk */
    DIRTY_LINK_ENDS   /* x.reply holds the result, or the failure is set */
} dirty_link_step;

struct dirty_async_call;

typedef struct dirty_link {
    dirty_client client; /* holds a connection and its failure; never exposed to users */
    dirty_exchange x;
    dirty_link_state state;
    bool retried;
    struct dirty_async_call *call; /* borrowed; NULL in IDLE */
    struct dirty_link *prev, *next;
    uint32_t events; /* registered with epoll; 0: not registered */
    unsigned born;   /* conn.born of the connection that they are registered for */
    bool dead;       /* closed; freed at the end of the round */
    bool kicked; /* to be driven by the timer: no event will come for what it waits for */
    uint64_t round; /* the value of dirty_async.round when the timer last drove it */
} dirty_link;

/* Start a call. The caller has set the times of `x`. */
void dirty_link_begin(dirty_link *l, const dirty_exchange *x);

/* Go on until it would block. */
dirty_link_step dirty_link_go(dirty_link *l);

/* The events it waits for: EPOLLIN, EPOLLOUT; 0 while it has no connection. */
uint32_t dirty_link_wants(const dirty_link *l);

#endif
