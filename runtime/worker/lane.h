/* lane: one thread of a worker with one Lua state, serving the requests that come on its
 * channel, one after the other.
 *
 *   DISPATCH → read the rest of the request → RUNNING → the app → WRITING → the answer
 *   → ANSWERED → DONE
 *
 * A small request costs it four system calls: recvmsg, sendmsg, close, send. */
#ifndef DIRTY_WORKER_LANE_H
#define DIRTY_WORKER_LANE_H

#include "base/worker_start.h"

typedef struct dirty_lane dirty_lane;

/* Make lane `index` of the worker and boot its apps. The channel stays the caller's. 0;
 * or negative after BOOT_FAILED was sent on the channel and logged. */
int dirty_lane_open(dirty_lane **out, const dirty_worker_start *start, uint32_t index);

/* Say READY, then serve until STOP or the end of the channel. 0, or negative for what
 * should not be on a channel. */
int dirty_lane_serve(dirty_lane *lane);

/* close() of the apps. Idempotent. */
void dirty_lane_close_apps(dirty_lane *lane);

/* Close the apps, if that is still to be done, and the Lua state. */
void dirty_lane_close(dirty_lane *lane);

#endif
