/* lua_host: the one door between a lane and its Lua state. It loads the apps, runs calls
 * under protection and makes answers of what they return; a `lua_State *` never leaves.
 *
 * A request goes: dirty_host_call, then, while it says STREAM or MORE, dirty_host_next;
 * after every result that has an answer dirty_host_answer gives the frame's pieces, which
 * stay good until the next call into the host; dirty_host_release ends the request. A
 * host belongs to one thread. */
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

/* What came of a call or of a step of its stream. */
typedef enum dirty_outcome {
    DIRTY_OUTCOME_VALUES, /* a terminal answer: send it as RESPONSE */
    DIRTY_OUTCOME_STREAM, /* the call returned a function: ask dirty_host_next */
    DIRTY_OUTCOME_CHUNK,  /* an answer: send it as CHUNK, ask again */
    DIRTY_OUTCOME_END,    /* the stream is over: send END */
    DIRTY_OUTCOME_FAILED  /* dirty_host_error tells */
} dirty_outcome;

/* Make a Lua state with the runtime's own modules; no app is loaded yet. `start` is
 * borrowed until the host is closed. 0, or -ENOMEM / -EINVAL: the modules can't be
 * loaded, `why` (a text is appended) says so. */
int dirty_host_open(dirty_host **out, const dirty_worker_start *start, dirty_buf *why);

/* Let calls be interrupted by way of `page`, in the thread that calls this: before boot.
 * `first`: it is the first lane of its process, whose compiled code can be interrupted
 * too. 0 or -ENOMEM. */
int dirty_host_listen(dirty_host *h, dirty_lane_page *page, bool first);

/* Load every app and make its object: require, new, init(options). 0, or -EINVAL with
 * `why` the JSON text {"app","phase","message","traceback"}, phase "load", "new" or
 * "init"; apps made before it are closed by dirty_host_close. */
int dirty_host_boot(dirty_host *h, dirty_buf *why);

/* Try one app and append what came of it to `report`, the inside of a JSON object:
 * "ok":true,"declared","file" or "ok":false,"phase","message","traceback". `step`: "load"
 * its module alone, then "init" an object, then "close" it. 0, or -EINVAL: the app
 * failed.
 */
int dirty_host_try(dirty_host *h, uint32_t app, const char *step, dirty_buf *report);

/* Room for a string argument of `len` bytes, to receive it where Lua will have it; NULL:
 * receive it elsewhere. The call that is `seated` takes it; release gives it back. */
char *dirty_host_seat(dirty_host *h, size_t len);

/* Run a call. `call` is borrowed until dirty_host_release. */
dirty_outcome dirty_host_call(dirty_host *h, const dirty_call *call);

/* The next values of the stream that the call has returned: CHUNK, END or FAILED. */
dirty_outcome dirty_host_next(dirty_host *h);

/* The pieces of the frame of the last VALUES or CHUNK, for one writing. */
struct iovec *dirty_host_answer(dirty_host *h, dirty_frame_type type, size_t *count);

/* The last FAILED; the lane may set another into it. */
dirty_lane_error *dirty_host_error(dirty_host *h);

/* The end of a request: its values are dropped, memory is tidied. Runs no app code but
 * finalizers. */
void dirty_host_release(dirty_host *h);

/* The same after a call that ended for want of memory: what it had is collected where the
 * heap has no room, so that dirty_host_bytes tells what the apps hold. */
void dirty_host_release_all(dirty_host *h);

/* Bytes of the Lua heap, in whole KiB. */
uint64_t dirty_host_bytes(const dirty_host *h);

/* close() of every app that was made, the last first. Idempotent. */
void dirty_host_close_apps(dirty_host *h);

/* close() of every app that was made, the last first; then the state's end. */
void dirty_host_close(dirty_host *h);

#endif
