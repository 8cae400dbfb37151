/* lua_host: the interface between a lane and its Lua state. It loads the apps, runs calls
 * under protection and makes answers of their results. The `lua_State *` never leaves it.
 *
 * A request runs in this order:
 *
 *   dirty_host_call      runs the call
 *   dirty_host_answer    after each VALUES or CHUNK: the pieces of its frame, valid until
 *                        the next call into the host
 *   dirty_host_next      after STREAM and each CHUNK: runs the next step
 *   dirty_host_release   ends the request
 *
 * One thread uses a host. */
#ifndef DIRTY_LUA_HOST_H
#define DIRTY_LUA_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/worker_start.h"
#include "wire/frame.h"
#include "worker/call.h"
#include "worker/lane_error.h"

typedef struct dirty_host dirty_host;

/* The result of a call or of a step of its stream. */
typedef enum dirty_outcome {
    DIRTY_OUTCOME_VALUES, /* there is an answer: send it as RESPONSE */
    DIRTY_OUTCOME_STREAM, /* the call returned a function: call dirty_host_next */
    DIRTY_OUTCOME_CHUNK,  /* there is an answer: send it as CHUNK, go on */
    DIRTY_OUTCOME_END,    /* the stream is over: send END */
    DIRTY_OUTCOME_FAILED  /* dirty_host_error has the error */
} dirty_outcome;

/* Make a Lua state with the runtime's own modules. Loads no app. `start` is borrowed
 * until the host is closed. Returns 0; -ENOMEM; or -EINVAL if the modules can't be
 * loaded, with the reason appended to `why`. */
int dirty_host_open(dirty_host **out, const dirty_worker_start *start, dirty_buf *why);

/* Make calls interruptible by way of `page`, in the current thread. Call it before boot.
 * `first`: this is the first lane of its process, whose compiled code can be interrupted
 * too. Returns 0 or -ENOMEM. */
int dirty_host_listen(dirty_host *h, dirty_lane_page *page, bool first);

/* Load every app and make its object: require, new, init(options). Returns 0; or -EINVAL
 * with the JSON text {"app","phase","message","traceback"} in `why`; phase is "load",
 * "new" or "init". dirty_host_close closes the apps that were made before it. */
int dirty_host_boot(dirty_host *h, dirty_buf *why);

/* Try one app and append the result to `report`, as the inside of a JSON object:
 * "ok":true,"declared","file" or "ok":false,"phase","message","traceback". `step` is
 * "load" (its module alone), then "init" (make an object), then "close" (close that
 * object). Returns 0; or -EINVAL if the app failed. */
int dirty_host_try(dirty_host *h, uint32_t app, const char *step, dirty_buf *report);

/* Room for a string argument of `len` bytes, to receive it where Lua will have it. NULL:
 * receive it elsewhere. The next call that is `seated` takes it; release frees it. */
char *dirty_host_seat(dirty_host *h, size_t len);

/* Can the host end calls at their deadlines without the arbiter? Call it after listen. */
bool dirty_host_has_alarm(const dirty_host *h);

/* End the next call at its deadline without the arbiter, if it can be interrupted at all.
 * 0: leave that to the arbiter again. Only if the host has an alarm. */
void dirty_host_bound(dirty_host *h, uint64_t deadline_ns);

/* Run a call. `call` is borrowed until dirty_host_release. */
dirty_outcome dirty_host_call(dirty_host *h, const dirty_call *call);

/* Get the next values of the stream that the call has returned. Returns CHUNK, END or
 * FAILED. */
dirty_outcome dirty_host_next(dirty_host *h);

/* The pieces of the frame for the last VALUES or CHUNK. They can be written once. */
struct iovec *dirty_host_answer(dirty_host *h, dirty_frame_type type, size_t *count);

/* The error of the last FAILED. The lane may put another error into it. */
dirty_lane_error *dirty_host_error(dirty_host *h);

/* End a request: drops its values and tidies memory. Runs no code of apps except
 * finalizers. */
void dirty_host_release(dirty_host *h);

/* The same after a call that ended with MEMORY. Collects the garbage of the call if the
 * heap has no room, so that dirty_host_bytes returns what the apps hold. */
void dirty_host_release_all(dirty_host *h);

/* Bytes of the Lua heap, rounded down to whole KiB. */
uint64_t dirty_host_bytes(const dirty_host *h);

/* Call close() of every app that was made, the last first. Idempotent. */
void dirty_host_close_apps(dirty_host *h);

/* Call close() of every app that was made, the last first. Then close the Lua state. */
void dirty_host_close(dirty_host *h);

#endif
