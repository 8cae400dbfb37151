/* lane_error: an error on its way to the caller. Its buffers are kept from one to the
 * next.
 */
#ifndef DIRTY_LANE_ERROR_H
#define DIRTY_LANE_ERROR_H

#include <stdint.h>

#include "base/buf.h"
#include "worker/call.h"
#include "wire/code.h"
#include "wire/frame.h"

/* What is sent of an error at most; the rest is cut, and the text says so. Even when
 * every byte of them is escaped they fit into what a frame takes (wire/frame.h). */
#define DIRTY_LANE_ERROR_MESSAGE_MAX (DIRTY_ERROR_MESSAGE_MAX - 64)
#define DIRTY_LANE_ERROR_TRACEBACK_MAX (32u << 10)
#define DIRTY_LANE_ERROR_MEMBERS_MAX (56u << 10)

typedef struct dirty_lane_error {
    dirty_code code;
    const char *started; /* "no" or "yes": whether the app may have run; static text */
    const char *phase; /* "receive", "queue", "run", NULL: does not apply; static text */
    dirty_buf message;
    dirty_buf traceback; /* empty: none */
    dirty_buf members;   /* JSON text of further members of the details, led by a comma */
} dirty_lane_error;

/* Who answers, for the details. Strings are borrowed. */
typedef struct dirty_error_origin {
    const char *app;
    uint32_t worker; /* its number */
    const dirty_call *call;
    uint64_t now_ns;
} dirty_error_origin;

void dirty_lane_error_init(dirty_lane_error *f);
void dirty_lane_error_deinit(dirty_lane_error *f);

/* Begin a new error. Texts of the last one are dropped. */
void dirty_lane_error_set(dirty_lane_error *f, dirty_code code, const char *started);

/* Append to the message, at most DIRTY_LANE_ERROR_MESSAGE_MAX bytes. */
void dirty_lane_error_say(dirty_lane_error *f, const char *text, size_t len);
void dirty_lane_error_sayf(dirty_lane_error *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Replace the traceback, cut to its limit. */
void dirty_lane_error_trace(dirty_lane_error *f, const char *text, size_t len);

/* Append the whole ERROR frame to `out`, which the caller checks with
 * dirty_buf_failed. */
void dirty_lane_error_encode(const dirty_lane_error *f, const dirty_error_origin *origin,
                             dirty_buf *out);

#endif
