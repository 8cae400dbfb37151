/* ready: lets a lane take requests of shared connections straight from the kernel.
 *
 * All lanes that are ready sleep in one epoll, which the arbiter fills. The kernel wakes
 * one of them for each connection that has input. That lane takes the connection on the
 * board (base/board.h), receives the request, and runs it; the arbiter is not needed.
 * What it can't serve goes to the arbiter: a request that has not come whole, or with
 * bytes behind it; one for an app of other workers; a caller that hung up.
 *
 * While the arbiter is silent for longer than arbiter_timeout, the lane serves only calls
 * that need no arbiter to end in time: those without a deadline, and, with an alarm of
 * its own, those of apps that can be interrupted.
 *
 * The order of the steps is a contract with arbiter/ready_lanes.c, which must be able to
 * tell from outside how far a lane got, also when it died between two steps:
 *
 *   take:     baton IDLE → READING, page.connection, zeros in page.head, board word
 *   receive:  into page.head
 *   release:  answer, baton ANSWERED, board word, counters, baton IDLE
 *
 * So a connection that a lane owns on the board is always the one in page.connection, and
 * while page.head begins with zeros, nothing of its request was read.
 *
 * Only for workers with one lane: with several, one could close a descriptor while
 * another receives from it. */
#ifndef DIRTY_READY_H
#define DIRTY_READY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/worker_start.h"
#include "worker/channel.h"

typedef struct dirty_ready_copy dirty_ready_copy;

/* The lane embeds it. */
typedef struct dirty_ready {
    const dirty_worker_start *start; /* borrowed */
    dirty_lane_page *page;           /* borrowed */
    dirty_channel *channel;          /* borrowed */
    dirty_ready_copy *copies;        /* owned, by slot: descriptors of connections */
    uint32_t me;                     /* this lane as an owner on the board */
    uint32_t messages;               /* received so far */
    bool has_alarm;                  /* the lane can end a call at its deadline itself */
    bool joined;                     /* RESUME has come */
    bool starved;            /* it could not get a descriptor: too many are open */
    bool told;               /* the arbiter knows that the lane is idle */
    uint64_t slice_until_ns; /* it may leave `wanted` for later until then */
    bool stopped;            /* STOP came while it waited for COPY */
    sigset_t asleep_mask;    /* blocked signals while it waits */

    /* The connection that it has taken. */
    uint64_t seq; /* of the baton */
    uint32_t slot, ticket;
    int fd;                     /* borrowed from copies */
    bool half_closed;           /* the caller has shut down its sending side */
    bool alone;                 /* the arbiter is silent: the lane keeps the deadline */
    bool again;                 /* answered, and an event came meanwhile: look again */
    dirty_msg_dispatch request; /* as if the arbiter had sent it */
} dirty_ready;

typedef enum dirty_ready_event {
    DIRTY_READY_MESSAGE, /* wait for a message on the channel */
    DIRTY_READY_REQUEST, /* `request` and `fd` are set; its bytes are in page.head */
    DIRTY_READY_BROKEN   /* the channel or the epoll is unusable */
} dirty_ready_event;

/* `has_alarm`: the lane can end a call at its deadline itself. Returns 0 or -ENOMEM. Does
 * nothing if the worker serves no shared connections. */
int dirty_ready_open(dirty_ready *r, const dirty_worker_start *start,
                     dirty_lane_page *page, dirty_channel *channel, bool has_alarm);
void dirty_ready_close(dirty_ready *r);

/* Wait for a request or a message. */
dirty_ready_event dirty_ready_next(dirty_ready *r);

/* Note a message that was received from the channel. RESUME lets the lane join. */
void dirty_ready_note(dirty_ready *r);

/* Call it before the request runs: tells the arbiter if its deadline is near, unless it
 * is silent. Returns 0 or the error of dirty_channel_send. */
int dirty_ready_begin(dirty_ready *r);

/* Let go of the connection after the answer, or give it to the arbiter. Returns 0 or the
 * error of dirty_channel_send. */
int dirty_ready_answered(dirty_ready *r, const dirty_msg_done *done);

/* Note that the arbiter knows from the DONE of a request that this lane is idle. `sent`:
 * it had sent that request. */
void dirty_ready_told(dirty_ready *r, bool sent);

#endif
