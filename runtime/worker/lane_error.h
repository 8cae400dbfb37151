/* lane_error: an error that a lane sends to its client as an ERROR frame. A lane has one
 * and reuses its buffers. */
#ifndef DIRTY_LANE_ERROR_H
#define DIRTY_LANE_ERROR_H

#include <stdint.h>

#include "base/buf.h"
#include "worker/call.h"
#include "wire/code.h"
#include "wire/frame.h"

/* Limits of an error's texts, in bytes. What is longer is cut, and the text says so. Even
 * with every byte escaped the texts fit into a frame (wire/frame.h). */
#define DIRTY_LANE_ERROR_MESSAGE_MAX (DIRTY_ERROR_MESSAGE_MAX - 64)
#define DIRTY_LANE_ERROR_TRACEBACK_MAX (32u << 10)
#define DIRTY_LANE_ERROR_MEMBERS_MAX (56u << 10)

typedef struct dirty_lane_error {
    dirty_code code;
    const char *started; /* static text, "no" or "yes": the app may have run */
    const char *phase;   /* static text: "receive", "queue" or "run"; NULL: none */
    dirty_buf message;
    dirty_buf traceback; /* empty: none */
    dirty_buf members;   /* JSON text of further details, begins with a comma */
} dirty_lane_error;

/* Where the error comes from. Goes into the details. Strings are borrowed. */
typedef struct dirty_error_origin {
    const char *app;
    uint32_t worker; /* its number */
    const dirty_call *call;
    uint64_t now_ns;
} dirty_error_origin;

void dirty_lane_error_init(dirty_lane_error *f);
void dirty_lane_error_deinit(dirty_lane_error *f);

/* Begin a new error. Drops the texts of the last one. */
void dirty_lane_error_set(dirty_lane_error *f, dirty_code code, const char *started);

/* Append to the message, which ends at DIRTY_LANE_ERROR_MESSAGE_MAX bytes. */
void dirty_lane_error_say(dirty_lane_error *f, const char *text, size_t len);
void dirty_lane_error_sayf(dirty_lane_error *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Replace the traceback. Cuts it to DIRTY_LANE_ERROR_TRACEBACK_MAX bytes. */
void dirty_lane_error_trace(dirty_lane_error *f, const char *text, size_t len);

/* Append the ERROR frame to `out`. The caller checks dirty_buf_failed(out). */
void dirty_lane_error_encode(const dirty_lane_error *f, const dirty_error_origin *origin,
                             dirty_buf *out);

#endif
