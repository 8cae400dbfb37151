/* json: checks whether a text is JSON exactly as RFC 8259 defines it. Every JSON library
 * accepts some text beyond the RFC, each its own; this is what all receivers agree on.
 * Sans-I/O, allocates nothing, and several times as fast as parsing into values.
 *
 * The text is one value, with optional spaces around it. Bytes from 0x80 up are accepted
 * in strings. They are not checked for valid UTF-8. */
#ifndef DIRTY_JSON_H
#define DIRTY_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* The limit of nesting for every receiver, whatever its own limit is. */
#define DIRTY_JSON_DEPTH_MAX 2000

/* The result of a check. */
typedef struct dirty_json_look {
    bool halves;          /* it has a lone surrogate such as \ud800 */
    size_t at;            /* offset of the wrong byte, or the length of the text */
    const char *expected; /* what should be there; NULL: nested too deep */
} dirty_json_look;

/* Whether the text is JSON with at most max_depth levels of arrays and objects. If false,
 * `at` and `expected` are set. */
bool dirty_json_is_valid(dirty_slice text, uint32_t max_depth, dirty_json_look *look);

/* Whether the text has anything that lua-cjson and RFC 8259 may treat differently: a
 * control character, a point without a digit, a surrogate. If not, the library's own
 * check is enough. This costs next to nothing. */
bool dirty_json_is_doubtful(dirty_slice text);

/* Write one line that says what is wrong and where: "Expected value but found the end at
 * character 4". Returns out. */
const char *dirty_json_explain(dirty_slice text, const dirty_json_look *look, char *out,
                               size_t size);

/* Copy a valid text to `out`, of the same length, with U+FFFD in place of each lone
 * surrogate. */
void dirty_json_mend(dirty_slice text, char *out);

#endif
