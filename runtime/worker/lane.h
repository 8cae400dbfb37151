/* lane: one thread of a worker, with one Lua state. It serves the requests from its
 * channel one after the other:
 *
 *   DISPATCH → read the rest of the request → RUNNING → the app → WRITING → the answer
 *   → ANSWERED → DONE
 *
 * A small request costs four system calls: recvmsg, sendmsg, close, send. */
#ifndef DIRTY_WORKER_LANE_H
#define DIRTY_WORKER_LANE_H

#include "base/worker_start.h"

typedef struct dirty_lane dirty_lane;

/* Make lane `index` of the worker and boot its apps. The channel stays owned by the
 * caller. Returns 0; or a negative value after it sent BOOT_FAILED on the channel. */
int dirty_lane_open(dirty_lane **out, const dirty_worker_start *start, uint32_t index);

/* Send READY, then serve until STOP or the end of the channel. Returns 0; or a negative
 * value if the channel is broken or a message is invalid. */
int dirty_lane_serve(dirty_lane *lane);

/* Call close() of every app. Calling it again has no effect. */
void dirty_lane_close_apps(dirty_lane *lane);

/* Close the apps, if they are still open, and the Lua state. Frees the lane. */
void dirty_lane_close(dirty_lane *lane);

#endif
