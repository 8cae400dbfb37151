/* ready_lanes: the arbiter's part in the requests that lanes take themselves.
 *
 * An idle lane takes requests of shared connections without the arbiter (worker/ready.h,
 * shared_conns.h). The arbiter lets lanes join, hands out descriptors, and gets back what
 * a lane can't serve. Beside that it looks from time to time:
 *
 *   - Every 5 ms while no lane waits, else every 250 ms. A lane rings the bell when it
 * was the last one that waited.
 *   - A call that runs since the last look is *adopted*: from then on it is a request
 * like any other, with a deadline, interrupts, and a place in the status.
 *   - A connection whose request no lane has come for is taken back into the queue: when
 *     no lane has finished anything since the last look, or the request is 50 ms old, or
 *     there are more of them than max_queue allows. Without this patience one late look
 *     would put everybody into the queue, and nobody would come back.
 *
 * What a lane does is read from its page and the board. Both may have been overwritten by
 * a broken app; a contradiction costs the connection or the worker it came from. */
#ifndef DIRTY_ARBITER_READY_LANES_H
#define DIRTY_ARBITER_READY_LANES_H

#include "arbiter/lane.h"

/* Call it before the first worker is forked. Does nothing if fast_path is off. */
void ready_lanes_open(arbiter *a);

/* Stop the looks. Call it when no worker is left. */
void ready_lanes_close(arbiter *a);

/* Handle changes of workers, plans and the phase: who may join, which apps lanes may
 * serve themselves. */
void ready_lanes_step(arbiter *a);

/* The first connection is shared: let the lanes wait for it, and look. */
void ready_lanes_wake(arbiter *a);

/* Take back all connections and share none from now on: the runtime stops. */
void ready_lanes_stop(arbiter *a);

/* Adopt all calls that run, so that status, stop and cancel see them. */
void ready_lanes_adopt(arbiter *a);

/* The worker of the lane is reaped. Settle the connections that the lane owned. If it had
 * a call, it is the lane's request now, which takeover_settle answers. */
void ready_lanes_settle(lane *l);

/* Close a shared connection that no lane uses, to make room. Returns false if there is
 * none. */
bool ready_lanes_evict(arbiter *a);

/* The messages of a lane (base/channel.h). */
void ready_lanes_bounced(lane *l, const dirty_msg_bounced *m, const uint8_t *bytes);
void ready_lanes_needs(lane *l, const dirty_msg_connection *m);
void ready_lanes_started(lane *l, uint64_t seq);

/* The peer of a connection has hung up (hangup_watch.h). */
void ready_lanes_hung_up(conn *c);

#endif
