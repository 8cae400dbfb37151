#include "spec/random/ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "spec/chaos/call.h"
#include "spec/random/extend.h"
#include "spec/random/spoil.h"
#include "wire/request.h"

#define SMALL_BYTES 2000
#define LARGE_BYTES (3u << 20)
/* An id that no ask has, so that an answer to a request inside of one is known as such.
 */
#define INNER_ID 0xbad0bad000000000ull

static const struct {
    const char *name, *action;
    unsigned weight;
    unsigned without; /* left out where this bit is set */
} kinds[ASK_KINDS] = {
    [ASK_NOOP] = {"noop", "noop", 30, 0},
    [ASK_ECHO] = {"echo", "echo", 80, 0},
    [ASK_EDGE] = {"edge", "echo", 24, 0},
    [ASK_LARGE] = {"large", "echo", 5, 0},
    [ASK_SLEEP] = {"sleep", "sleep", 40, 0},
    [ASK_FAIL] = {"fail", "fail", 14, 0},
    [ASK_SPIN] = {"spin", "spin", 3, 0},
    [ASK_COUNT] = {"count", "count", 18, 0},
    [ASK_NOTE] = {"note", "note", 30, 0},
    [ASK_DIE] = {"die", "die", 2, WITHOUT_DEATH},
    [ASK_STUCK] = {"stuck", "stuck", 1, WITHOUT_DEATH},
    [ASK_PING] = {"ping", "ping", 9, WITHOUT_SERVICE},
    [ASK_STATUS] = {"status", "status", 5, WITHOUT_SERVICE},
    [ASK_METRICS] = {"metrics", "metrics", 3, WITHOUT_SERVICE},
    [ASK_NO_APP] = {"no-app", "echo", 6, 0},
    [ASK_NO_ACTION] = {"no-action", "ecko", 6, 0},
    [ASK_NO_SERVICE] = {"no-service", "nonesuch", 3, 0},
    [ASK_BAD] = {"bad", "echo", 18, WITHOUT_BAD},
};

static const char *const app_names[ASK_APPS] = {"wide", "one", "noted", "nobodys"};

const char *ask_kind_name(ask_kind kind) {
    return kinds[kind].name;
}

const char *ask_app_name(ask_app app) {
    return app_names[app];
}

/* -- Choosing
 * ---------------------------------------------------------------------------- */

static ask_kind pick_kind(uint64_t *rng, unsigned without) {
    unsigned sum = 0;
    int kind = 0;
    for (int k = 0; k < ASK_KINDS; k++)
        sum += kinds[k].without & without ? 0 : kinds[k].weight;
    unsigned at = random_below(rng, sum);
    for (;; kind++) {
        unsigned weight = kinds[kind].without & without ? 0 : kinds[kind].weight;
        if (at < weight)
            return (ask_kind)kind;
        at -= weight;
    }
}

static uint32_t pick_budget_ms(uint64_t *rng) {
    static const uint8_t usual[] = {1, 2, 5, 10, 20, 50};
    uint32_t dice = random_below(rng, 100);
    if (dice < 35)
        return usual[random_below(rng, sizeof usual)];
    if (dice < 55)
        return random_within(rng, 1, 60);
    if (dice < 75)
        return random_within(rng, 60, 500);
    return dice < 95 ? random_within(rng, 1000, 8000) : 0;
}

static ask_app pick_app(ask_kind kind, uint64_t *rng) {
    switch (kind) {
    case ASK_PING:
    case ASK_STATUS:
    case ASK_METRICS:
    case ASK_NO_APP:
    case ASK_NO_SERVICE: return ASK_NOBODYS;
    case ASK_NOTE:
    case ASK_DIE:
    case ASK_STUCK: return ASK_NOTED;
    default: return random_chance(rng, 45) ? ASK_ONE : ASK_WIDE;
    }
}

static void pick_numbers(ask *a, uint64_t *rng) {
    a->budget_ms = pick_budget_ms(rng);
    switch (a->kind) {
    case ASK_SLEEP:
        a->number = random_within(rng, 0, random_chance(rng, 8) ? 120 : 12);
        break;
    case ASK_COUNT: a->number = random_below(rng, 40); break;
    case ASK_SPIN: a->number = 60000; /* fallthrough */
    case ASK_STUCK: a->budget_ms = random_within(rng, 10, 60); break;
    case ASK_DIE: a->number = random_below(rng, 2); break;
    default: break;
    }
}

void ask_text(const ask *a, char out[ASK_TEXT_LEN]) {
    uint64_t seed = a->seed;
    snprintf(out, ASK_TEXT_LEN, "%016llx", (unsigned long long)chaos_random(&seed));
}

/* -- Values
 * ------------------------------------------------------------------------------ */

/* A request frame to the app that is never called, `n` of its id. */
static size_t append_inner_frame(dirty_buf *b, uint64_t n) {
    static const char app[] = "never", action[] = "run";
    char text[ASK_TEXT_LEN];
    size_t before = b->len;
    dirty_route route = {.priority = DIRTY_PRIORITY_DEFAULT,
                         .argc = 1,
                         .app = dirty_slice_cstr(app),
                         .action = dirty_slice_cstr(action)};
    snprintf(text, sizeof text, "%016llx", (unsigned long long)(INNER_ID + n));
    dirty_request_encode_head(b, INNER_ID + n, &route,
                              DIRTY_VALUE_HEAD_LEN + ASK_TEXT_LEN - 1);
    dirty_value_append(b, DIRTY_TAG_BYTES, text, ASK_TEXT_LEN - 1);
    return b->len - before;
}

/* A value of `len` bytes: frames as far as they fit, the rest noise; or all noise. */
static void append_bytes(ask *a, dirty_buf *b, uint64_t *rng, uint32_t len) {
    uint8_t head[DIRTY_VALUE_HEAD_LEN];
    dirty_value_encode_head(head, DIRTY_TAG_BYTES, len);
    dirty_buf_append(b, head, sizeof head);
    size_t end = b->len + len;
    if (random_chance(rng, 60)) {
        dirty_buf one = {0};
        size_t step = append_inner_frame(&one, a->id & 0xffffffff);
        a->inner_at = b->len;
        a->inner_step = step;
        while (b->len + step <= end)
            dirty_buf_append(b, one.base, step);
        dirty_buf_deinit(&one);
    }
    if (dirty_buf_reserve(b, end - b->len + sizeof(uint64_t)) < 0)
        abort();
    for (; b->len < end; b->len += sizeof(uint64_t)) {
        uint64_t word = chaos_random(rng);
        memcpy(b->base + b->len, &word, sizeof word);
    }
    b->len = end;
}

/* As the runtime writes it: what is echoed comes back byte for byte. */
static void append_json(dirty_buf *b, uint64_t *rng, bool alone) {
    static const char *const texts[] = {"null",  "true",    "false",
                                        "0",     "17",      "-2.5",
                                        "1e+20", "[1,2,3]", "{\"a\":[true,null]}",
                                        "{}"};
    uint32_t first = alone ? 0 : 1; /* nil and more is an error: return nil, err */
    const char *text = texts[random_within(rng, first, sizeof texts / sizeof *texts - 1)];
    dirty_value_append(b, DIRTY_TAG_JSON, text, (uint32_t)strlen(text));
}

static void append_number(ask *a, dirty_buf *b) {
    char text[16];
    snprintf(text, sizeof text, "%u", a->number);
    dirty_value_append(b, DIRTY_TAG_JSON, text, (uint32_t)strlen(text));
    a->argc = 1;
}

static void append_text(ask *a, dirty_buf *b) {
    char text[ASK_TEXT_LEN];
    ask_text(a, text);
    dirty_value_append(b, DIRTY_TAG_BYTES, text, ASK_TEXT_LEN - 1);
    a->argc = 1;
}

static void append_values(ask *a, dirty_buf *b, uint64_t *rng) {
    a->argc = (uint16_t)random_below(rng, 5);
    for (uint32_t i = 0; i < a->argc; i++)
        if (random_chance(rng, 50))
            append_bytes(a, b, rng, random_below(rng, SMALL_BYTES));
        else
            append_json(b, rng, i > 0 || a->argc == 1);
}

static void append_args(ask *a, dirty_buf *b, uint64_t *rng) {
    switch (a->kind) {
    case ASK_ECHO:
    case ASK_NO_APP:
    case ASK_NO_ACTION: append_values(a, b, rng); break;
    case ASK_EDGE:
        append_bytes(a, b, rng, random_within(rng, ASK_HEAD_MAX - 80, ASK_HEAD_MAX + 40));
        a->argc = 1;
        break;
    case ASK_LARGE:
        append_bytes(a, b, rng, random_within(rng, ASK_HEAD_MAX, LARGE_BYTES));
        a->argc = 1;
        break;
    case ASK_SLEEP:
    case ASK_SPIN:
    case ASK_COUNT:
    case ASK_DIE: append_number(a, b); break;
    case ASK_FAIL:
    case ASK_NOTE: append_text(a, b); break;
    case ASK_BAD: /* what is spoiled must be there */
        append_json(b, rng, false);
        append_bytes(a, b, rng, random_below(rng, random_chance(rng, 20) ? 20000 : 120));
        a->argc = 2;
        break;
    default: break;
    }
}

/* -- The frame
 * --------------------------------------------------------------------------- */

static const char *app_on_the_wire(const ask *a, uint64_t *rng) {
    if (a->app != ASK_NOBODYS)
        return app_names[a->app];
    if (a->kind == ASK_NO_APP)
        return "nobody";
    return a->kind == ASK_NO_SERVICE && random_chance(rng, 50) ? "@nobody" : "@arbiter";
}

static void encode(ask *a, uint64_t *rng) {
    static const char metadata[] = "{\"trace\":\"4bf92f35\"}";
    dirty_buf values = {0};
    bool described = random_chance(rng, 20);
    if (described)
        dirty_value_append(&values, DIRTY_TAG_JSON, metadata, sizeof metadata - 1);
    size_t meta_len = values.len;
    append_args(a, &values, rng);
    dirty_route route = {.budget_ms = a->budget_ms,
                         .priority = random_chance(rng, 25)
                                         ? (uint8_t)random_below(rng, 10)
                                         : DIRTY_PRIORITY_DEFAULT,
                         .flags = described ? DIRTY_FLAG_METADATA : 0,
                         .argc = a->argc,
                         .app = dirty_slice_cstr(app_on_the_wire(a, rng)),
                         .action = dirty_slice_cstr(a->action)};
    if (dirty_request_encode_head(&a->frame, a->id, &route, values.len) < 0)
        abort();
    a->args_at = a->frame.len + meta_len;
    a->inner_at += a->frame.len;
    dirty_buf_append(&a->frame, values.base, values.len);
    dirty_buf_deinit(&values);
    if (dirty_buf_failed(&a->frame))
        abort();
}

void ask_pick(ask *a, uint64_t *rng, uint64_t id, const delivery_choice *choice) {
    *a = (ask){.kind = pick_kind(rng, choice->without), .id = id};
    a->seed = chaos_random(rng) | 1;
    a->app = pick_app(a->kind, rng);
    a->action = kinds[a->kind].action;
    pick_numbers(a, rng);
    encode(a, rng);
    if (a->kind == ASK_BAD)
        spoil(a, rng);
    else
        extend(a, rng);
    delivery_shape shape = {.size = a->frame.len,
                            .inner_at = a->inner_at,
                            .inner_step = a->inner_step,
                            .budget_ms = a->budget_ms,
                            .bad = a->kind == ASK_BAD};
    delivery_pick(&a->way, rng, &shape, choice);
}

void ask_deinit(ask *a) {
    dirty_buf_deinit(&a->frame);
}

uint64_t ask_over_ns(const ask *a, uint64_t since_ns, uint32_t app_timeout_ms) {
    uint64_t over_ns = UINT64_MAX;
    uint32_t limit_ms = a->budget_ms;
    if (ask_is_routed(a) && (limit_ms == 0 || limit_ms > app_timeout_ms))
        limit_ms = app_timeout_ms;
    if (limit_ms != 0)
        over_ns = since_ns + limit_ms * DIRTY_NS_PER_MS;
    return a->deadline_at != 0 && a->deadline_ns < over_ns ? a->deadline_ns : over_ns;
}

void ask_describe(const ask *a, char *out, size_t size) {
    const delivery *d = &a->way;
    static const char *const ends[] = {"", ", then half-close", ", then hang up",
                                       ", then nothing"};
    int n = snprintf(out, size, "%s.%s id %llu, %zu bytes, budget %u ms",
                     app_names[a->app], kinds[a->kind].name, (unsigned long long)a->id,
                     a->frame.len, a->budget_ms);
    if (a->kind == ASK_BAD && n > 0 && (size_t)n < size)
        n +=
            snprintf(out + n, size - (size_t)n, " (%s)", dirty_wire_fault_name(a->fault));
    if (a->deadline_at != 0 && n > 0 && (size_t)n < size)
        n += snprintf(out + n, size - (size_t)n, ", deadline %lld us",
                      a->ageless ? INT64_MAX / 1000 : (long long)a->deadline_us);
    if (d->stop_at < a->frame.len && n > 0 && (size_t)n < size)
        n += snprintf(out + n, size - (size_t)n, ", only %zu of them", d->stop_at);
    if (n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, "%s", ends[d->then]);
}
