#include "wire/json.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

typedef struct scanner {
    const uint8_t *at, *end;
    uint32_t depth, max_depth;
    bool halves;
    const char *expected;                               /* what is missing at `at` */
    uint64_t objects[(DIRTY_JSON_DEPTH_MAX + 63) / 64]; /* bit n: level n is an object */
} scanner;

static bool fail(scanner *s, const char *expected) {
    s->expected = expected;
    return false;
}

/* The byte at the current position, or -1 at the end. */
static int peek(const scanner *s) {
    return s->at < s->end ? *s->at : -1;
}

static int skip_spaces(scanner *s) {
    int c;
    while ((c = peek(s)) == ' ' || c == '\n' || c == '\r' || c == '\t')
        s->at++;
    return c;
}

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

/* -- Strings ------------------------------------------------------------------------- */

/* The value of the four hex digits at `at`; -1 if they are no digits. */
static int hex4(const uint8_t *at, const uint8_t *end) {
    int value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int c = at[i] | 0x20;
        if (!is_digit(at[i]) && (c < 'a' || c > 'f'))
            return -1;
        value = value * 16 + (is_digit(at[i]) ? at[i] - '0' : c - 'a' + 10);
    }
    return value;
}

static bool is_high_half(int unit) {
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low_half(int unit) {
    return unit >= 0xdc00 && unit <= 0xdfff;
}

/* Length of the escape by four hex digits at `at`, with the second one of a surrogate
 * pair. *half: it is a surrogate without its other half. 0: no four digits follow. */
static size_t unit_len(const uint8_t *at, const uint8_t *end, bool *half) {
    int unit = hex4(at + 2, end);
    *half = is_high_half(unit) || is_low_half(unit);
    if (unit < 0)
        return 0;
    if (!is_high_half(unit) || end - at < 12 || at[6] != '\\' || at[7] != 'u' ||
        !is_low_half(hex4(at + 8, end)))
        return 6;
    *half = false;
    return 12;
}

/* Read a \u escape. */
static bool take_unit(scanner *s) {
    bool half;
    size_t len = unit_len(s->at, s->end, &half);
    if (len == 0)
        return fail(s, "\\u and four hexadecimal digits");
    s->halves |= half;
    s->at += len;
    return true;
}

/* Read an escape, from its backslash on. */
static bool take_escape(scanner *s) {
    switch (s->at + 1 < s->end ? s->at[1] : 0) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': s->at += 2; return true;
    case 'u': return take_unit(s);
    default: return fail(s, "an escape that JSON has");
    }
}

static bool is_plain(uint8_t c) {
    return c >= 0x20 && c != '"' && c != '\\';
}

#define EACH_BYTE(b) (0x0101010101010101ull * (b))

/* Whether any of eight bytes is a quote, a backslash or a control character. */
static bool has_special(uint64_t eight) {
    uint64_t quote = eight ^ EACH_BYTE('"'), slash = eight ^ EACH_BYTE('\\');
    uint64_t hit = ((quote - EACH_BYTE(1)) & ~quote) | ((slash - EACH_BYTE(1)) & ~slash) |
                   ((eight - EACH_BYTE(0x20)) & ~eight);
    return (hit & EACH_BYTE(0x80)) != 0;
}

/* The first byte from `at` on that has a special meaning in a string. Large texts spend
 * most of their time here. */
static const uint8_t *find_special(const uint8_t *at, const uint8_t *end) {
    for (uint64_t eight; end - at >= 8 && is_plain(*at); at += 8) {
        memcpy(&eight, at, 8);
        if (has_special(eight))
            break;
    }
    while (at < end && is_plain(*at))
        at++;
    return at;
}

/* Read a string, from its opening quote on. */
static bool take_string(scanner *s) {
    for (s->at++;;) {
        s->at = find_special(s->at, s->end);
        if (peek(s) == '"')
            return s->at++, true;
        if (peek(s) != '\\')
            return fail(s, "the rest of a string");
        if (!take_escape(s))
            return false;
    }
}

/* -- Numbers and words --------------------------------------------------------------- */

static bool take_digits(scanner *s) {
    if (!is_digit(peek(s)))
        return fail(s, "a digit");
    while (is_digit(peek(s)))
        s->at++;
    return true;
}

static bool take_number(scanner *s) {
    if (peek(s) == '-')
        s->at++;
    if (peek(s) == '0')
        s->at++; /* a digit after it is an error, which the next step finds */
    else if (!take_digits(s))
        return false;
    if (peek(s) == '.') {
        s->at++;
        if (!take_digits(s))
            return false;
    }
    if (peek(s) != 'e' && peek(s) != 'E')
        return true;
    s->at++;
    if (peek(s) == '+' || peek(s) == '-')
        s->at++;
    return take_digits(s);
}

static bool take_word(scanner *s, const char *word, size_t len) {
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
        return fail(s, "value");
    s->at += len;
    return true;
}

/* -- Arrays and objects -------------------------------------------------------------- */

static bool in_object(const scanner *s) {
    return s->objects[(s->depth - 1) / 64] >> (s->depth - 1) % 64 & 1;
}

static bool enter(scanner *s, bool object) {
    if (s->depth == s->max_depth)
        return fail(s, NULL);
    uint64_t bit = (uint64_t)1 << s->depth % 64;
    uint64_t *bits = &s->objects[s->depth / 64];
    *bits = object ? *bits | bit : *bits & ~bit;
    s->depth++;
    s->at++;
    return true;
}

static bool take_key(scanner *s) {
    if (skip_spaces(s) != '"')
        return fail(s, "object key string");
    if (!take_string(s))
        return false;
    if (skip_spaces(s) != ':')
        return fail(s, "':'");
    s->at++;
    return true;
}

/* Begin a level. *open: a value follows; false if the level is empty. */
static bool open_level(scanner *s, bool object, bool *open) {
    if (!enter(s, object))
        return false;
    *open = skip_spaces(s) != (object ? '}' : ']');
    if (*open)
        return !object || take_key(s);
    s->at++;
    s->depth--;
    return true;
}

/* Read a value that is no array or object, or the start of one. *open: it is one and not
 * empty. */
static bool take_value(scanner *s, bool *open) {
    *open = false;
    switch (skip_spaces(s)) {
    case '{': return open_level(s, true, open);
    case '[': return open_level(s, false, open);
    case '"': return take_string(s);
    case 't': return take_word(s, "true", 4);
    case 'f': return take_word(s, "false", 5);
    case 'n': return take_word(s, "null", 4);
    case '-': return take_number(s);
    default: return is_digit(peek(s)) ? take_number(s) : fail(s, "value");
    }
}

/* Close the levels that end after a value. *more: there is a comma, and another value
 * follows. */
static bool close_levels(scanner *s, bool *more) {
    *more = false;
    while (s->depth > 0) {
        bool object = in_object(s);
        int c = skip_spaces(s);
        if (c == ',') {
            s->at++;
            *more = true;
            return !object || take_key(s);
        }
        if (c != (object ? '}' : ']'))
            return fail(s, object ? "',' or '}'" : "',' or ']'");
        s->at++;
        s->depth--;
    }
    return skip_spaces(s) == -1 ? true : fail(s, "the end");
}

static bool take_all(scanner *s) {
    for (bool more = true, open; more;) {
        if (!take_value(s, &open))
            return false;
        if (!open && !close_levels(s, &more))
            return false;
    }
    return true;
}

bool dirty_json_is_valid(dirty_slice text, uint32_t max_depth, dirty_json_look *look) {
    const uint8_t *start = (const uint8_t *)text.base;
    scanner s = {.at = start, .end = start + text.len, .max_depth = max_depth};
    if (max_depth > DIRTY_JSON_DEPTH_MAX)
        s.max_depth = DIRTY_JSON_DEPTH_MAX;
    bool valid = take_all(&s);
    *look = (dirty_json_look){s.halves, (size_t)(s.at - start), s.expected};
    return valid;
}

/* -- Quick check --------------------------------------------------------------------- */

/* Set the top bit of each of eight bytes that is a control character, a point or a
 * backslash. May also set it for bytes after those. */
static uint64_t mark_doubts(uint64_t eight) {
    uint64_t point = eight ^ EACH_BYTE('.'), slash = eight ^ EACH_BYTE('\\');
    uint64_t hit = ((point - EACH_BYTE(1)) & ~point) | ((slash - EACH_BYTE(1)) & ~slash) |
                   ((eight - EACH_BYTE(0x20)) & ~eight);
    return hit & EACH_BYTE(0x80);
}

static bool is_doubtful(const uint8_t *at, const uint8_t *start, const uint8_t *end) {
    int before = at > start ? at[-1] : 0, behind = at + 1 < end ? at[1] : 0;
    if (*at == '.')
        return before == '-' || (is_digit(before) && !is_digit(behind));
    if (*at == '\\') /* it may be the second of two; then this check is unnecessary but
                        harmless */
        return behind == 'u' && at + 2 < end && (at[2] | 0x20) == 'd';
    return *at < 0x20;
}

bool dirty_json_is_doubtful(dirty_slice text) {
    const uint8_t *start = (const uint8_t *)text.base, *at = start, *end = at + text.len;
    for (uint64_t eight; end - at >= 8; at += 8) {
        memcpy(&eight, at, 8);
        for (uint64_t marks = mark_doubts(le64toh(eight)); marks; marks &= marks - 1)
            if (is_doubtful(at + __builtin_ctzll(marks) / 8, start, end))
                return true;
    }
    for (; at < end; at++)
        if (is_doubtful(at, start, end))
            return true;
    return false;
}

/* -- Messages ------------------------------------------------------------------------ */

static const char *found_words(int c, char room[16]) {
    if (c == -1)
        return "the end";
    if (c == '"')
        return "a string";
    if (is_digit(c) || c == '-')
        return "a number";
    if (c > 0x20 && c < 0x7f)
        snprintf(room, 16, "'%c'", c);
    else
        snprintf(room, 16, "the byte 0x%02x", c & 0xff);
    return room;
}

const char *dirty_json_explain(dirty_slice text, const dirty_json_look *look, char *out,
                               size_t size) {
    char room[16];
    int c = look->at < text.len ? (uint8_t)text.base[look->at] : -1;
    if (look->expected == NULL)
        snprintf(out, size, "Found too many nested arrays and objects at character %zu",
                 look->at + 1);
    else
        snprintf(out, size, "Expected %s but found %s at character %zu", look->expected,
                 found_words(c, room), look->at + 1);
    return out;
}

/* -- Lone surrogates ----------------------------------------------------------------- */

void dirty_json_mend(dirty_slice text, char *out) {
    const uint8_t *at = (const uint8_t *)text.base, *end = at + text.len;
    memcpy(out, text.base, text.len);
    while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        bool half = false;
        size_t len = at[1] == 'u' ? unit_len(at, end, &half) : 2;
        if (half)
            memcpy(out + (at - (const uint8_t *)text.base) + 2, "fffd", 4);
        at += len;
    }
}
