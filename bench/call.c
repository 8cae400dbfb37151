#include "bench/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bench/socket.h"

#define DEADLINE_NS (24 * 3600 * 1000000000ull)

#define BYTES_MAX (64u << 20)
#define WHOLE_CHECK_MAX 4096
#define SAMPLE_EVERY 4096
#define SAMPLE_LEN 64

/* Bytes that differ from place to place, so that shifted answers are seen. */
static void append_pattern(dirty_buf *b, uint32_t len) {
    uint32_t x = 2463534242u;
    if (dirty_buf_reserve(b, len) < 0)
        bench_die("out of memory");
    for (uint32_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        b->base[b->len++] = (uint8_t)x;
    }
}

static void append_text(dirty_buf *b, const char *text) {
    dirty_value_append(b, DIRTY_TAG_JSON, text, (uint32_t)strlen(text));
}

static void append_bytes(dirty_buf *b, uint32_t len) {
    uint8_t head[DIRTY_VALUE_HEAD_LEN];
    dirty_value_encode_head(head, DIRTY_TAG_BYTES, len);
    dirty_buf_append(b, head, sizeof head);
    append_pattern(b, len);
}

/* The frame of `values` with count 1. */
static void build_answer(bench_call *c, const dirty_buf *values) {
    uint8_t head[DIRTY_FRAME_HEADER_LEN + 2];
    dirty_buf b = {0};
    dirty_frame_encode(head, DIRTY_FRAME_RESPONSE, (uint32_t)(2 + values->len), 0);
    dirty_put16(head + DIRTY_FRAME_HEADER_LEN, 1);
    dirty_buf_append(&b, head, sizeof head);
    dirty_buf_append(&b, values->base, values->len);
    c->answer = b.base;
    c->answer_len = b.len;
}

static void build_request(bench_call *c, const dirty_route *route,
                          const dirty_buf *values) {
    dirty_buf b = {0};
    if (dirty_request_encode_head(&b, 0, route, values->len) < 0)
        bench_die("not a name of an app and an action: %.*s %.*s", (int)route->app.len,
                  route->app.base, (int)route->action.len, route->action.base);
    size_t values_at = b.len;
    dirty_buf_append(&b, values->base, values->len);
    c->request = b.base;
    c->request_len = b.len;
    c->stamp_at = values_at + DIRTY_VALUE_HEAD_LEN;
    c->request_head = c->stamp_len > 0 ? c->stamp_at + c->stamp_len : values_at;
}

/* The arguments of the call and, where it is known, the answer. */
static void build(bench_call *c, dirty_route *route, const char *number) {
    dirty_buf values = {0}, answer = {0};
    bool echo = dirty_slice_equals(route->action, "echo", 4);
    bool length = dirty_slice_equals(route->action, "length", 6);
    if (echo || length) {
        uint32_t len = (uint32_t)bench_number(c->spec, number ? number : "", BYTES_MAX);
        c->stamp_len = len < BENCH_STAMP_LEN ? len : BENCH_STAMP_LEN;
        append_bytes(&values, len);
        if (echo)
            dirty_buf_append(&answer, values.base, values.len);
        else
            append_text(&answer, number);
    } else if (number) {
        append_text(&values, number);
    } else if (dirty_slice_equals(route->action, "noop", 4)) {
        append_text(&answer, "null");
    }
    route->argc = values.len > 0;
    build_request(c, route, &values);
    if (answer.len > 0)
        build_answer(c, &answer);
    c->answer_stamped = echo;
    dirty_buf_deinit(&values);
    dirty_buf_deinit(&answer);
}

void bench_call_init(bench_call *c, const char *app, const char *spec,
                     uint32_t budget_ms) {
    *c = (bench_call){.spec = spec, .weight = 1};
    bench_histogram_reset(&c->latency);
    char text[64];
    if (snprintf(text, sizeof text, "%s", spec) >= (int)sizeof text)
        bench_die("too long a call: %s", spec);
    char *weight = strchr(text, '*'), *number = NULL;
    if (weight) {
        *weight++ = '\0';
        c->weight = (unsigned)bench_number(spec, weight, 1000);
    }
    if ((number = strchr(text, ':')))
        *number++ = '\0';
    dirty_route route = {.budget_ms = budget_ms,
                         .priority = DIRTY_PRIORITY_DEFAULT,
                         .app = dirty_slice_cstr(app),
                         .action = dirty_slice_cstr(text),
                         /* as clients send it, later than any run ends */
                         .extension.deadline_ns = dirty_now_ns() + DEADLINE_NS};
    build(c, &route, number);
}

void bench_call_deinit(bench_call *c) {
    free(c->request);
    free(c->answer);
}

static void stamp(const bench_call *c, uint64_t id, uint8_t *out) {
    uint8_t bytes[BENCH_STAMP_LEN];
    memcpy(bytes, &id, sizeof bytes);
    memcpy(out, bytes, c->stamp_len);
}

void bench_call_head(const bench_call *c, uint64_t id,
                     uint8_t out[BENCH_REQUEST_HEAD_MAX]) {
    memcpy(out, c->request, c->request_head);
    dirty_put64(out + 8, id);
    if (c->stamp_len > 0)
        stamp(c, id, out + c->stamp_at);
}

/* Compare the part of [from, to) that lies within the received bytes. `expected` is what
 * the answer has from `from` on. */
static bool part_matches(size_t from, const uint8_t *expected, size_t to, size_t offset,
                         const uint8_t *bytes, size_t len) {
    size_t low = from > offset ? from : offset;
    size_t high = to < offset + len ? to : offset + len;
    return low >= high ||
           memcmp(bytes + (low - offset), expected + (low - from), high - low) == 0;
}

/* The first sample lies behind the head, which is compared whole. */
static bool samples_match(const bench_call *c, size_t offset, const uint8_t *bytes,
                          size_t len) {
    size_t at = (offset + SAMPLE_EVERY - 1) / SAMPLE_EVERY * SAMPLE_EVERY;
    if (at == 0)
        at = SAMPLE_EVERY;
    for (; at < offset + len; at += SAMPLE_EVERY)
        if (!part_matches(at, c->answer + at, at + SAMPLE_LEN, offset, bytes, len))
            return false;
    at = c->answer_len - SAMPLE_LEN;
    return part_matches(at, c->answer + at, c->answer_len, offset, bytes, len);
}

bool bench_call_matches(const bench_call *c, uint64_t id, size_t offset,
                        const uint8_t *bytes, size_t len) {
    if (!c->answer)
        return true;
    uint8_t head[BENCH_ANSWER_HEAD];
    size_t head_len = BENCH_ANSWER_HEAD - BENCH_STAMP_LEN;
    memcpy(head, c->answer, head_len);
    if (c->answer_stamped) {
        stamp(c, id, head + head_len);
        head_len += c->stamp_len;
    }
    size_t from = DIRTY_FRAME_HEADER_LEN;
    if (!part_matches(from, head + from, head_len, offset, bytes, len))
        return false;
    if (c->answer_len > WHOLE_CHECK_MAX)
        return samples_match(c, offset, bytes, len);
    return part_matches(head_len, c->answer + head_len, c->answer_len, offset, bytes,
                        len);
}
