#include "spec/chaos/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json_peek.h"
#include "wire/request.h"

#define LARGE_BYTES (1u << 20)
#define BUDGET_MS 8000
/* Any call may leave this many bytes of text behind its own. */
#define TEXT_LEN 17

static const struct {
    const char *name, *app, *action;
} kinds[CALL_KINDS] = {
    [CALL_NOOP] = {"noop", "apps.echo", "noop"},
    [CALL_SMALL] = {"small", "apps.echo", "echo"},
    [CALL_LARGE] = {"large", "apps.echo", "echo"},
    [CALL_SLEEP] = {"sleep", "apps.echo", "sleep"},
    [CALL_FAIL] = {"fail", "apps.echo", "fail"},
    [CALL_SPIN] = {"spin", "apps.echo", "spin"},
    [CALL_COUNT] = {"count", "apps.echo", "count"},
    [CALL_ONCE] = {"once", "chaos", "once"},
    [CALL_BROOD] = {"brood", "chaos", "brood"},
    [CALL_LEAVE] = {"leave", "apps.echo", "sleep"},
};

const char *call_kind_name(call_kind kind) {
    return kinds[kind].name;
}

uint64_t chaos_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed * 0x2545f4914f6cdd1dull;
}

/* -- Asking -------------------------------------------------------------------------- */

static uint32_t below(uint64_t *seed, uint32_t n) {
    return (uint32_t)((chaos_random(seed) >> 32) % n);
}

static call_kind pick_kind(uint64_t *seed, const unsigned weights[CALL_KINDS]) {
    unsigned sum = 0;
    for (int k = 0; k < CALL_KINDS; k++)
        sum += weights[k];
    unsigned at = below(seed, sum);
    int kind = 0;
    while (at >= weights[kind])
        at -= weights[kind++];
    return (call_kind)kind;
}

void call_pick(call *c, uint64_t *seed, const unsigned weights[CALL_KINDS]) {
    *c = (call){.kind = pick_kind(seed, weights),
                .id = chaos_random(seed),
                .seed = chaos_random(seed) | 1,
                .budget_ms = BUDGET_MS};
    switch (c->kind) {
    case CALL_SMALL: c->number = below(seed, 2001); break;
    case CALL_LARGE: c->number = LARGE_BYTES; break;
    case CALL_SLEEP: c->number = 1 + below(seed, 30); break;
    case CALL_SPIN:
        c->number = 60000;
        c->budget_ms = 20 + below(seed, 60);
        break;
    case CALL_COUNT: c->number = below(seed, 50); break;
    case CALL_LEAVE: c->number = 5 + below(seed, 20); break;
    case CALL_NOOP:
    case CALL_FAIL:
    case CALL_ONCE:
    case CALL_BROOD:
    case CALL_KINDS: break;
    }
}

/* The bytes of an echo, from the call's own seed. */
static void append_pattern(dirty_buf *b, uint64_t seed, uint32_t len) {
    if (dirty_buf_reserve(b, len + sizeof seed) < 0)
        return;
    for (uint32_t i = 0; i < len; i += sizeof seed) {
        uint64_t word = chaos_random(&seed);
        memcpy(b->base + b->len + i, &word, sizeof word);
    }
    b->len += len;
}

/* A text that no other call has. */
static void own_text(const call *c, char out[TEXT_LEN]) {
    snprintf(out, TEXT_LEN, "%016llx", (unsigned long long)c->seed);
}

/* The one argument, which is also the result of the actions that echo. */
static void append_argument(const call *c, dirty_buf *b) {
    char text[TEXT_LEN];
    uint8_t head[DIRTY_VALUE_HEAD_LEN];
    switch (c->kind) {
    case CALL_SMALL:
    case CALL_LARGE:
        dirty_value_encode_head(head, DIRTY_TAG_BYTES, c->number);
        dirty_buf_append(b, head, sizeof head);
        append_pattern(b, c->seed, c->number);
        break;
    case CALL_SLEEP:
    case CALL_SPIN:
    case CALL_COUNT:
    case CALL_LEAVE:
        snprintf(text, sizeof text, "%u", c->number);
        dirty_value_append(b, DIRTY_TAG_JSON, text, (uint32_t)strlen(text));
        break;
    case CALL_FAIL:
    case CALL_ONCE:
    case CALL_BROOD:
        own_text(c, text);
        dirty_value_append(b, DIRTY_TAG_BYTES, text, TEXT_LEN - 1);
        break;
    case CALL_NOOP:
    case CALL_KINDS: break;
    }
}

void call_encode(const call *c, dirty_buf *out) {
    dirty_buf values = {0};
    append_argument(c, &values);
    dirty_route route = {.budget_ms = c->budget_ms,
                         .priority = DIRTY_PRIORITY_DEFAULT,
                         .argc = values.len > 0,
                         .app = dirty_slice_cstr(kinds[c->kind].app),
                         .action = dirty_slice_cstr(kinds[c->kind].action)};
    out->len = 0;
    int rc = dirty_request_encode_head(out, c->id, &route, values.len);
    dirty_buf_append(out, values.base, values.len);
    dirty_buf_deinit(&values);
    if (rc < 0 || dirty_buf_failed(out))
        abort();
}

/* -- Judging ------------------------------------------------------------------------- */

/* Does the list of values consist of this one? */
static bool is_one_value(const uint8_t *payload, size_t len, uint8_t tag,
                         dirty_slice want) {
    dirty_value_reader r;
    dirty_value v;
    return dirty_values_open(payload, len, 255, &r) == DIRTY_WIRE_OK && r.left == 1 &&
           dirty_value_next(&r, &v) == DIRTY_WIRE_OK &&
           dirty_value_reader_end(&r) == DIRTY_WIRE_OK && v.tag == tag &&
           dirty_slice_equals(v.bytes, want.base, want.len);
}

static bool is_number(const uint8_t *payload, size_t len, uint32_t n) {
    char text[16];
    snprintf(text, sizeof text, "%u", n);
    return is_one_value(payload, len, DIRTY_TAG_JSON, dirty_slice_cstr(text));
}

static bool is_right_result(const call *c, const uint8_t *payload, size_t len) {
    dirty_buf want = {0};
    bool right;
    if (c->kind == CALL_NOOP)
        return is_one_value(payload, len, DIRTY_TAG_JSON, dirty_slice_cstr("null"));
    append_argument(c, &want);
    right = len == 2 + want.len && dirty_get16(payload) == 1 &&
            memcmp(payload + 2, want.base, want.len) == 0;
    dirty_buf_deinit(&want);
    return right;
}

static void copy_member(dirty_slice details, const char *key, char *out, size_t size) {
    dirty_json_unescape(dirty_json_peek_string(details, key), out, size);
}

static const char *find(dirty_slice text, const char *needle) {
    const char *at = memmem(text.base, text.len, needle, strlen(needle));
    return at != NULL ? at + strlen(needle) : NULL;
}

static verdict judge_error(const call *c, const uint8_t *payload, size_t len,
                           call_error *out, const char **why) {
    dirty_error e;
    char text[TEXT_LEN], pid[16] = "";
    if (dirty_error_decode(payload, len, &e) != DIRTY_WIRE_OK) {
        *why = "an error that can't be read";
        return VERDICT_WRONG;
    }
    *out = (call_error){.code = (dirty_code)e.code};
    copy_member(e.details, "phase", out->phase, sizeof out->phase);
    copy_member(e.details, "started", out->started, sizeof out->started);
    const char *at = find(e.details, "\"pid\":");
    if (at != NULL) {
        snprintf(pid, sizeof pid, "%.*s", (int)(e.details.base + e.details.len - at), at);
        out->worker = (pid_t)strtol(pid, NULL, 10);
    }
    out->ours = find(e.details, "\"killed_by_runtime\":true") != NULL;
    own_text(c, text);
    out->own_words =
        e.message.len >= TEXT_LEN - 1 &&
        memcmp(e.message.base + e.message.len - (TEXT_LEN - 1), text, TEXT_LEN - 1) == 0;
    return VERDICT_ERROR;
}

verdict call_judge(call *c, const dirty_frame *frame, const uint8_t *payload,
                   call_error *error, const char **why) {
    bool streams = c->kind == CALL_COUNT;
    *why = "a frame of a kind that is no answer to it";
    if (frame->id != c->id) {
        *why = "another id";
        return VERDICT_WRONG;
    }
    if (frame->type == DIRTY_FRAME_ERROR)
        return judge_error(c, payload, frame->payload_len, error, why);
    if (frame->type == DIRTY_FRAME_CHUNK && streams) {
        *why = "a chunk that is not the next";
        return is_number(payload, frame->payload_len, ++c->chunks) ? VERDICT_MORE
                                                                   : VERDICT_WRONG;
    }
    if (frame->type == DIRTY_FRAME_END && streams) {
        *why = "the end of a stream before its last chunk";
        return c->chunks == c->number ? VERDICT_VALUE : VERDICT_WRONG;
    }
    if (frame->type != DIRTY_FRAME_RESPONSE || streams || c->kind == CALL_SPIN ||
        c->kind == CALL_FAIL)
        return VERDICT_WRONG;
    *why = "another payload";
    return is_right_result(c, payload, frame->payload_len) ? VERDICT_VALUE
                                                           : VERDICT_WRONG;
}
