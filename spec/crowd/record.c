#include "spec/crowd/record.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define SMALL_BYTES 2000
#define LARGE_BYTES (256u << 10)
#define PATTERN_BYTES (1u << 20)
#define BUDGET_MS 30000

static const struct {
    const char *name, *action;
    unsigned weight;
} kinds[RECORD_KINDS] = {
    [RECORD_SMALL] = {"small", "echo", 40}, [RECORD_LARGE] = {"large", "echo", 3},
    [RECORD_SLEEP] = {"sleep", "sleep", 4}, [RECORD_FAIL] = {"fail", "fail", 10},
    [RECORD_SPIN] = {"spin", "spin", 1},    [RECORD_COUNT] = {"count", "count", 10},
    [RECORD_LEAVE] = {"leave", "count", 6}, [RECORD_CANCEL] = {"cancel", "echo", 12},
};

const char *record_name(record_kind kind) {
    return kinds[kind].name;
}

bool record_streams(const record *r) {
    return r->kind == RECORD_COUNT || r->kind == RECORD_LEAVE;
}

/* -- Choosing ----------------------------------------------------------------------- */

static uint32_t below(uint64_t *seed, uint32_t n) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)((*seed * 0x2545f4914f6cdd1dull >> 32) % n);
}

static record_kind pick_kind(uint64_t *seed) {
    unsigned sum = 0;
    int kind = 0;
    for (int k = 0; k < RECORD_KINDS; k++)
        sum += kinds[k].weight;
    unsigned at = below(seed, sum);
    while (at >= kinds[kind].weight)
        at -= kinds[kind++].weight;
    return (record_kind)kind;
}

/* Bytes of which no two stretches are alike: a payload is a place in them. */
static const char *pattern(uint32_t at) {
    static char bytes[PATTERN_BYTES + LARGE_BYTES];
    static bool made;
    uint64_t seed = 88172645463325252ull;
    for (size_t i = 0; !made && i < sizeof bytes; i++)
        bytes[i] = (char)below(&seed, 256);
    made = true;
    return bytes + at;
}

static void pick_numbers(record *r, uint64_t *seed) {
    switch (r->kind) {
    case RECORD_SMALL:
    case RECORD_CANCEL: r->number = below(seed, SMALL_BYTES + 1); break;
    case RECORD_LARGE: r->number = LARGE_BYTES; break;
    case RECORD_SLEEP: r->number = 1 + below(seed, 10); break;
    case RECORD_SPIN: r->number = 20 + below(seed, 40); break;
    case RECORD_COUNT: r->number = below(seed, 50); break;
    case RECORD_LEAVE: r->number = 1000; break;
    case RECORD_FAIL:
    case RECORD_KINDS: break;
    }
    r->turn_at = 1 + below(seed, 20);
    r->payload = pattern(below(seed, PATTERN_BYTES));
}

static int add_argument(const record *r, dirty_request *q) {
    switch (r->kind) {
    case RECORD_SMALL:
    case RECORD_CANCEL:
    case RECORD_LARGE: return dirty_request_add_bytes(q, r->payload, r->number);
    case RECORD_FAIL: return dirty_request_add_string(q, r->text);
    case RECORD_SPIN: return dirty_request_add_integer(q, BUDGET_MS);
    default: return dirty_request_add_integer(q, r->number);
    }
}

dirty_request *record_begin(record *r, uint64_t *seed, uint64_t serial) {
    dirty_request *q;
    *r = (record){.pending = true, .kind = pick_kind(seed), .began_ns = dirty_now_ns()};
    snprintf(r->text, sizeof r->text, "call %llu.", (unsigned long long)serial);
    pick_numbers(r, seed);
    if (dirty_request_new(&q, "apps.echo", kinds[r->kind].action) < 0)
        return NULL;
    dirty_request_set_budget_ms(q, r->kind == RECORD_SPIN ? r->number : BUDGET_MS);
    if (add_argument(r, q) == 0)
        return q;
    dirty_request_free(q);
    return NULL;
}

/* -- Judging ------------------------------------------------------------------------ */

static bool is_one_value(const dirty_reply *reply, int tag, const char *want,
                         size_t len) {
    const char *data;
    size_t got;
    return dirty_reply_count(reply) == 1 &&
           dirty_reply_value(reply, 0, &data, &got) == tag && got == len &&
           memcmp(data, want, len) == 0;
}

static bool is_number(const dirty_reply *reply, uint32_t number) {
    char text[16];
    int len = snprintf(text, sizeof text, "%u", number);
    return is_one_value(reply, DIRTY_JSON, text, (size_t)len);
}

const char *record_chunk(record *r, const dirty_reply *reply) {
    if (!record_streams(r))
        return "a chunk for a call that does not stream";
    if (!is_number(reply, ++r->chunks) || r->chunks > r->number)
        return "a chunk that is not the next";
    return r->paused ? "a chunk while it is paused" : NULL;
}

const char *record_value(const record *r, const dirty_reply *reply) {
    if (r->kind == RECORD_FAIL || r->kind == RECORD_SPIN)
        return "a value for a call that has none";
    if (r->cancelled)
        return "a value after it was cancelled";
    if (record_streams(r))
        return reply == NULL && r->chunks == r->number ? NULL : "its end after too few";
    if (r->kind == RECORD_SLEEP)
        return is_number(reply, r->number) ? NULL : "a number that is not its own";
    return is_one_value(reply, DIRTY_BYTES, r->payload, r->number)
               ? NULL
               : "bytes that are not its own";
}

const char *record_error(const record *r, const dirty_outcome *o, bool explained) {
    if (o->message_len == 0 || o->details[0] != '{')
        return "an error without words or details";
    switch (o->err) {
    case DIRTY_EAPP:
        return r->kind == RECORD_FAIL && strstr(o->message, r->text) != NULL
                   ? NULL
                   : "an error that is not its own";
    case DIRTY_ETIMEOUT: return r->kind == RECORD_SPIN ? NULL : "TIMEOUT for no reason";
    case DIRTY_ECANCELLED: return r->cancelled ? NULL : "CANCELLED, and nobody did";
    case DIRTY_ECONNECTION:
    case DIRTY_EWORKER_LOST:
    case DIRTY_ENO_WORKERS: return explained ? NULL : "lost, and nobody was killed";
    default: return "an error that it must not get";
    }
}
