/* json: is a text JSON as RFC 8259 has it, and nothing more? The libraries that make
 * values of it take this or that beyond it, each its own; here is what all receivers
 * agree on. Sans-I/O, allocates nothing, and is several times as fast as making values
 * is.
 *
 * One value, spaces around it allowed. Bytes from 0x80 up pass in strings as they are:
 * whether they are UTF-8 is not looked at. */
#ifndef DIRTY_JSON_H
#define DIRTY_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* No receiver takes more levels than this, whatever its own limit is. */
#define DIRTY_JSON_DEPTH_MAX 2000

/* What a look at a text has found. */
typedef struct dirty_json_look {
    bool halves;          /* it has a \ud800 or the like without its other half */
    size_t at;            /* the offset of the byte that is wrong, or the text's length */
    const char *expected; /* there; NULL where it nests too deep */
} dirty_json_look;

/* True where it is JSON and has at most max_depth levels of arrays and objects; false
 * with `at` and `expected` set. */
bool dirty_json_is_valid(dirty_slice text, uint32_t max_depth, dirty_json_look *look);

/* Has it anything of what lua-cjson takes or refuses in another way than RFC 8259 does: a
 * control character, a point that lacks a digit, a surrogate? Where it has not, the
 * library's own verdict is as good, and this has cost next to nothing. */
bool dirty_json_is_doubtful(dirty_slice text);

/* Write what is wrong, in a line with the place: "Expected value but found the end at
 * character 4". Returns out. */
const char *dirty_json_explain(dirty_slice text, const dirty_json_look *look, char *out,
                               size_t size);

/* Copy a valid text to `out`, of the same length, with U+FFFD in the place of each half
 * of a pair: a string has no better character for it. */
void dirty_json_mend(dirty_slice text, char *out);

#endif
