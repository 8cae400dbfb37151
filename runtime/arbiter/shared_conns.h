/* shared_conns: the connections whose requests idle lanes may take themselves.
 *
 * They have a slot on the board (base/board.h) and are in one epoll, in which idle lanes
 * sleep (worker/ready.h). Only the arbiter adds and removes them: a registration belongs
 * to the open socket, outlives the closed copies of lanes, and can be removed by nobody
 * else. A connection that is shared is in one of two situations:
 *
 *   - in CONN_SHARED it is the lanes': the arbiter neither reads nor writes;
 *   - in every other state the arbiter owns it on the board, or adopted the lane's call.
 *
 * Events that come while the arbiter owns it set MORE. When it lets go it arms the epoll
 * anew, and so a lane gets what came, not the arbiter. */
#ifndef DIRTY_ARBITER_SHARED_CONNS_H
#define DIRTY_ARBITER_SHARED_CONNS_H

#include "arbiter/internal.h"
#include "base/board.h"

struct shared_conns {
    dirty_board *board; /* owned */
    int epoll;          /* owned; lanes inherit it */
    int bell;           /* owned: an eventfd; lanes inherit it */
    uint32_t count, max;
    uint32_t last;     /* the highest slot that was used so far */
    conn **conns;      /* owned, by slot; NULL: free. Slot 0 is not used. */
    uint32_t *tickets; /* owned, by slot: of its last connection */
    uint32_t *free;    /* owned: stack of free slots up to `last` */
    uint32_t free_count;
    bool open; /* connections may become shared */
};

/* Make the board, for as many connections as this process may have open. Call it before
 * the first worker is forked. If memory or descriptors lack, a->shared stays NULL and all
 * requests take the general path. */
void shared_conns_open(arbiter *a);
void shared_conns_close(arbiter *a);

/* Share the connection: from now on lanes may take it. Returns false if there is no
 * room. */
bool shared_conns_add(conn *c);

/* Stop sharing it. The arbiter must own it, or the lane that does must be dead. */
void shared_conns_remove(conn *c);

/* Take it back if nobody owns it. Returns false if a lane does. */
bool shared_conns_take(conn *c);

/* Own it, whoever does now. The call of a lane that owned it must be settled: the arbiter
 * has its baton or its DONE, or the lane is dead. */
void shared_conns_seize(conn *c);

/* Let lanes take it again. */
void shared_conns_release(conn *c);

/* Make the epoll report it again if it has input. */
void shared_conns_arm(conn *c);

/* The owner on the board. */
uint32_t shared_conns_owner(const conn *c);

/* How many requests lanes have served of it, modulo 2^21. */
uint32_t shared_conns_served(const conn *c);

/* Returns the connection of slot `at` with this ticket, NULL: there is none. */
conn *shared_conns_find(const arbiter *a, uint32_t at, uint32_t ticket);

#endif
