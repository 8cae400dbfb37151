#include "worker/lane_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/frame.h"

/* Free a buffer after an error if it is larger than this. */
#define KEEP_BYTES (16u << 10)

void dirty_lane_error_init(dirty_lane_error *f) {
    *f = (dirty_lane_error){.started = "no"};
}

void dirty_lane_error_deinit(dirty_lane_error *f) {
    dirty_buf_deinit(&f->message);
    dirty_buf_deinit(&f->traceback);
    dirty_buf_deinit(&f->members);
}

static void empty(dirty_buf *b) {
    if (b->cap > KEEP_BYTES)
        dirty_buf_deinit(b);
    b->len = 0;
    b->failed = false;
}

void dirty_lane_error_set(dirty_lane_error *f, dirty_code code, const char *started) {
    f->code = code;
    f->started = started;
    f->phase = NULL;
    empty(&f->message);
    empty(&f->traceback);
    empty(&f->members);
}

/* Append at most as much as keeps the buffer within `max`. Says how much was cut. */
static void append_cut(dirty_buf *b, const char *text, size_t len, size_t max) {
    size_t room = b->len < max ? max - b->len : 0;
    if (len <= room) {
        dirty_buf_append(b, text, len);
        return;
    }
    dirty_buf_append(b, text, room);
    if (room > 0)
        dirty_buf_printf(b, " ... (%zu bytes more)", len - room);
}

void dirty_lane_error_say(dirty_lane_error *f, const char *text, size_t len) {
    append_cut(&f->message, text, len, DIRTY_LANE_ERROR_MESSAGE_MAX);
}

void dirty_lane_error_sayf(dirty_lane_error *f, const char *format, ...) {
    char line[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0)
        dirty_lane_error_say(f, line,
                             (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

void dirty_lane_error_trace(dirty_lane_error *f, const char *text, size_t len) {
    f->traceback.len = 0;
    append_cut(&f->traceback, text, len, DIRTY_LANE_ERROR_TRACEBACK_MAX);
}

static void encode_details(const dirty_lane_error *f, const dirty_error_origin *origin,
                           dirty_buf *out) {
    const dirty_call *call = origin->call;
    uint64_t elapsed_ns =
        origin->now_ns > call->arrived_ns ? origin->now_ns - call->arrived_ns : 0;
    dirty_buf_append_cstr(out, "{\"app\":");
    dirty_buf_json_string(out, origin->app, strlen(origin->app));
    if (call->action.len > 0) {
        dirty_buf_append_cstr(out, ",\"action\":");
        dirty_buf_json_string(out, call->action.base, call->action.len);
    }
    dirty_buf_printf(
        out, ",\"started\":\"%s\",\"elapsed_ms\":%.3f,\"pid\":%d,\"worker\":%u",
        f->started, (double)elapsed_ns / DIRTY_NS_PER_MS, (int)getpid(), origin->worker);
    if (f->phase != NULL)
        dirty_buf_printf(out, ",\"phase\":\"%s\"", f->phase);
    if (f->traceback.len > 0) {
        dirty_buf_append_cstr(out, ",\"traceback\":");
        dirty_buf_json_string(out, (const char *)f->traceback.base, f->traceback.len);
    }
    dirty_buf_append(out, f->members.base, f->members.len);
    dirty_buf_append(out, "}", 2); /* with its NUL */
}

void dirty_lane_error_encode(const dirty_lane_error *f, const dirty_error_origin *origin,
                             dirty_buf *out) {
    dirty_buf details = {0};
    encode_details(f, origin, &details);
    if (dirty_buf_failed(&details)) {
        out->failed = true;
    } else {
        dirty_slice message = {(const char *)f->message.base, f->message.len};
        dirty_error_encode(out, origin->call->id, (uint16_t)f->code, message,
                           (const char *)details.base);
    }
    dirty_buf_deinit(&details);
}
