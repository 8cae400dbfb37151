#include "spec/random/extend.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "wire/request.h"

#define ENTRY_HEAD_LEN 3
#define DEADLINE_LEN 8
#define AT_LENGTH 4
#define AT_FLAGS (DIRTY_FRAME_HEADER_LEN + 5)
#define AT_APP_LEN (DIRTY_FRAME_HEADER_LEN + 8)

/* -- Blocks
 * ------------------------------------------------------------------------------ */

static void append_entry(dirty_buf *b, uint8_t type, const void *value, uint16_t len) {
    uint8_t head[ENTRY_HEAD_LEN] = {type};
    dirty_put16(head + 1, len);
    dirty_buf_append(b, head, sizeof head);
    dirty_buf_append(b, value, len);
}

static void append_unknown(dirty_buf *b, uint64_t *rng) {
    uint8_t value[200];
    uint16_t len =
        (uint16_t)random_below(rng, random_chance(rng, 20) ? sizeof value : 12);
    for (uint16_t i = 0; i < len; i++)
        value[i] = (uint8_t)random_below(rng, 256);
    append_entry(b, (uint8_t)random_within(rng, 2, 255), value, len);
}

static void append_deadline(dirty_buf *b) {
    static const uint8_t later[DEADLINE_LEN] = {0}; /* set when it is known */
    append_entry(b, DIRTY_EXTENSION_DEADLINE, later, sizeof later);
}

/* Where the block goes: behind the names. */
static size_t names_end(const ask *a) {
    const uint8_t *len = a->frame.base + AT_APP_LEN;
    return DIRTY_FRAME_HEADER_LEN + DIRTY_ROUTE_FIXED_LEN + len[0] + len[1];
}

/* Put entries there, as a block that says it has `len` bytes of them. */
static void insert(ask *a, const dirty_buf *entries, uint16_t len) {
    uint8_t head[DIRTY_EXTENSION_HEAD_LEN];
    size_t at = names_end(a), more = sizeof head + entries->len;
    dirty_put16(head, len);
    if (dirty_buf_failed(entries) || dirty_buf_reserve(&a->frame, more) < 0)
        abort();
    uint8_t *p = a->frame.base + at;
    memmove(p + more, p, a->frame.len - at);
    memcpy(p, head, sizeof head);
    if (entries->len > 0)
        memcpy(p + sizeof head, entries->base, entries->len);
    a->frame.len += more;
    a->args_at += more;
    a->inner_at += more;
    a->frame.base[AT_FLAGS] |= DIRTY_FLAG_EXTENSION;
    dirty_put32(a->frame.base + AT_LENGTH,
                (uint32_t)(a->frame.len - DIRTY_FRAME_HEADER_LEN));
}

/* -- Good ones
 * --------------------------------------------------------------------------- */

/* When the caller gives up, from the first byte on: as its budget says, most of the time.
 */
static int64_t pick_deadline_us(const ask *a, uint64_t *rng) {
    uint32_t dice = random_below(rng, 100);
    int64_t budget_us = (int64_t)a->budget_ms * 1000;
    if (dice < 50 && budget_us > 0)
        return budget_us;
    if (dice < 65)
        return random_below(rng, 40000);
    if (dice < 75)
        return -(int64_t)random_below(rng, 3000);
    return random_within(rng, 100000, 10000000);
}

void extend(ask *a, uint64_t *rng) {
    dirty_buf entries = {0};
    bool timed = random_chance(rng, 70);
    if (!random_chance(rng, 35))
        return;
    for (uint32_t i = random_below(rng, 3); i > 0; i--)
        append_unknown(&entries, rng);
    if (timed) {
        a->deadline_at =
            names_end(a) + DIRTY_EXTENSION_HEAD_LEN + entries.len + ENTRY_HEAD_LEN;
        a->deadline_us = pick_deadline_us(a, rng);
        a->ageless = random_chance(rng, 5);
        append_deadline(&entries);
    }
    for (uint32_t i = random_below(rng, 2); i > 0; i--)
        append_unknown(&entries, rng);
    insert(a, &entries, (uint16_t)entries.len);
    dirty_buf_deinit(&entries);
}

void extend_set_deadline(ask *a, uint64_t now_ns) {
    if (a->deadline_at == 0)
        return;
    a->deadline_ns = a->ageless ? UINT64_MAX : now_ns + (uint64_t)(a->deadline_us * 1000);
    dirty_put64(a->frame.base + a->deadline_at, a->deadline_ns);
}

/* -- Bad ones
 * ---------------------------------------------------------------------------- */

dirty_wire_fault extend_badly(ask *a, uint64_t *rng) {
    dirty_buf entries = {0};
    uint32_t which = random_below(rng, 5);
    uint16_t len = 0;
    if (which == 0) /* too much of it */
        len = (uint16_t)random_within(rng, DIRTY_EXTENSION_MAX + 1, UINT16_MAX);
    append_unknown(&entries, rng);
    if (which == 1) /* an entry without its length */
        dirty_buf_append(&entries, "\x80\x00", random_within(rng, 1, 2));
    if (which == 2) { /* an entry past the end */
        dirty_buf_append(&entries, "\x80\xff\xff", 3);
    } else if (which == 3) { /* a known one of another length */
        append_entry(&entries, DIRTY_EXTENSION_DEADLINE, "12345678901234567",
                     (uint16_t)random_within(rng, 9, 16));
    } else if (which == 4) { /* twice */
        append_deadline(&entries);
        append_deadline(&entries);
    }
    insert(a, &entries, len ? len : (uint16_t)entries.len);
    dirty_buf_deinit(&entries);
    /* The first rule of those that are broken is told. */
    size_t left = a->frame.len - names_end(a) - DIRTY_EXTENSION_HEAD_LEN;
    return len > left ? DIRTY_WIRE_TRUNCATED : DIRTY_WIRE_BAD_EXTENSION;
}
