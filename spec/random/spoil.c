#include "spec/random/spoil.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "spec/random/extend.h"
#include "wire/request.h"

/* Offsets in the frame. */
enum {
    AT_VERSION = 2,
    AT_TYPE = 3,
    AT_LENGTH = 4,
    AT_PRIORITY = DIRTY_FRAME_HEADER_LEN + 4,
    AT_FLAGS,
    AT_ARGC,
    AT_APP_LEN = AT_ARGC + 2,
    AT_ACTION_LEN,
    AT_NAMES
};

/* -- What the arbiter tells
 * -------------------------------------------------------------- */

static void bad_magic(ask *a, uint64_t *rng) {
    a->frame.base[random_below(rng, 2)] ^= (uint8_t)random_within(rng, 1, 255);
    a->no_id = true;
}

static void bad_version(ask *a, uint64_t *rng) {
    a->frame.base[AT_VERSION] = (uint8_t)random_within(rng, 2, 255);
    a->no_id = true;
}

static void unknown_type(ask *a, uint64_t *rng) {
    a->frame.base[AT_TYPE] =
        random_chance(rng, 20) ? 0 : (uint8_t)random_within(rng, 9, 255);
    a->no_id = true;
}

static void type_of_the_server(ask *a, uint64_t *rng) {
    a->frame.base[AT_TYPE] =
        (uint8_t)random_within(rng, DIRTY_FRAME_RESPONSE, DIRTY_FRAME_CHUNK);
}

static void too_long(ask *a, uint64_t *rng) {
    dirty_put32(a->frame.base + AT_LENGTH, random_chance(rng, 50)
                                               ? DIRTY_MAX_MESSAGE_DEFAULT + 1
                                               : UINT32_MAX - random_below(rng, 1000));
}

static void bad_priority(ask *a, uint64_t *rng) {
    a->frame.base[AT_PRIORITY] = (uint8_t)random_within(rng, 10, 255);
}

static void bad_flags(ask *a, uint64_t *rng) {
    a->frame.base[AT_FLAGS] |= (uint8_t)(1u << random_within(rng, 2, 7));
}

static void bad_name(ask *a, uint64_t *rng) {
    static const uint8_t bytes[] = {0, ' ', 0x7f, 0xff, '\n'};
    uint32_t len = a->frame.base[AT_APP_LEN] + a->frame.base[AT_ACTION_LEN];
    a->frame.base[AT_NAMES + random_below(rng, len)] =
        bytes[random_below(rng, sizeof bytes)];
}

static void empty_name(ask *a, uint64_t *rng) {
    a->frame.base[random_chance(rng, 50) ? AT_APP_LEN : AT_ACTION_LEN] = 0;
}

static void bad_extension(ask *a, uint64_t *rng) {
    a->fault = extend_badly(a, rng);
}

static void block_past_the_end(ask *a, uint64_t *rng) {
    (void)rng;
    uint32_t names = a->frame.base[AT_APP_LEN] + a->frame.base[AT_ACTION_LEN];
    a->frame.base[AT_FLAGS] |= DIRTY_FLAG_EXTENSION;
    dirty_put32(a->frame.base + AT_LENGTH, DIRTY_ROUTE_FIXED_LEN + names + 1);
}

static void no_room_for_the_route(ask *a, uint64_t *rng) {
    dirty_put32(a->frame.base + AT_LENGTH, random_below(rng, DIRTY_ROUTE_FIXED_LEN));
}

static void name_past_the_end(ask *a, uint64_t *rng) {
    (void)rng;
    uint32_t names = a->frame.base[AT_APP_LEN] + a->frame.base[AT_ACTION_LEN];
    dirty_put32(a->frame.base + AT_LENGTH, DIRTY_ROUTE_FIXED_LEN + names - 1);
}

/* -- What the lane tells
 * ----------------------------------------------------------------- */

static void too_many(ask *a, uint64_t *rng) {
    dirty_put16(a->frame.base + AT_ARGC,
                (uint16_t)random_within(rng, DIRTY_MAX_ARGS_DEFAULT + 1, UINT16_MAX));
}

static void bad_tag(ask *a, uint64_t *rng) {
    static const uint8_t tags[] = {0, 'm', 'J', 0xff};
    a->frame.base[a->args_at] = tags[random_below(rng, sizeof tags)];
}

static void too_few_values(ask *a, uint64_t *rng) {
    dirty_put16(a->frame.base + AT_ARGC,
                (uint16_t)random_within(rng, a->argc + 1u, DIRTY_MAX_ARGS_DEFAULT));
}

static void too_many_values(ask *a, uint64_t *rng) {
    dirty_put16(a->frame.base + AT_ARGC, (uint16_t)random_below(rng, a->argc));
}

static void value_past_the_end(ask *a, uint64_t *rng) {
    dirty_put32(a->frame.base + a->args_at + 1,
                (uint32_t)a->frame.len + random_below(rng, 1u << 30));
}

/* The value keeps its length, or the last argument would be a fault of its own. */
static void bad_json(ask *a, uint64_t *rng) {
    static const char openers[] = "{[\"'x,:-";
    uint32_t len = dirty_get32(a->frame.base + a->args_at + 1);
    uint8_t *text = a->frame.base + a->args_at + DIRTY_VALUE_HEAD_LEN;
    memset(text, ' ', len);
    text[random_below(rng, len)] =
        (uint8_t)openers[random_below(rng, sizeof openers - 1)];
}

static const struct {
    void (*run)(ask *a, uint64_t *rng);
    dirty_wire_fault fault;
    bool of_lane;
} rules[] = {
    {bad_magic, DIRTY_WIRE_BAD_MAGIC, false},
    {bad_version, DIRTY_WIRE_BAD_VERSION, false},
    {unknown_type, DIRTY_WIRE_BAD_TYPE, false},
    {type_of_the_server, DIRTY_WIRE_BAD_TYPE, false},
    {too_long, DIRTY_WIRE_TOO_LONG, false},
    {bad_priority, DIRTY_WIRE_BAD_PRIORITY, false},
    {bad_flags, DIRTY_WIRE_BAD_FLAGS, false},
    {bad_name, DIRTY_WIRE_BAD_NAME, false},
    {empty_name, DIRTY_WIRE_BAD_NAME, false},
    {bad_extension, DIRTY_WIRE_BAD_EXTENSION, false},
    {block_past_the_end, DIRTY_WIRE_TRUNCATED, false},
    {no_room_for_the_route, DIRTY_WIRE_TRUNCATED, false},
    {name_past_the_end, DIRTY_WIRE_TRUNCATED, false},
    {too_many, DIRTY_WIRE_TOO_MANY, true},
    {bad_tag, DIRTY_WIRE_BAD_TAG, true},
    {too_few_values, DIRTY_WIRE_BAD_COUNT, true},
    {too_many_values, DIRTY_WIRE_BAD_COUNT, true},
    {value_past_the_end, DIRTY_WIRE_TRUNCATED, true},
    {bad_json, DIRTY_WIRE_BAD_JSON, true},
};

void spoil(ask *a, uint64_t *rng) {
    uint32_t i = random_below(rng, sizeof rules / sizeof *rules);
    a->fault = rules[i].fault;
    a->fault_of_lane = rules[i].of_lane;
    rules[i].run(a, rng);
}
