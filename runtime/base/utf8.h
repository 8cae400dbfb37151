/* utf8: decodes characters, and finds those that no log or terminal should get.
 *
 * A control is a character that a terminal takes as a command or as the end of a line: C0
 * and DEL, C1 (U+0080 to U+009F), line and paragraph separators, and the characters that
 * change the writing direction. */
#ifndef DIRTY_UTF8_H
#define DIRTY_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the valid sequence at `p` (RFC 3629, section 4), with *code set. 0 if it is
 * invalid. `left` is at least 1. */
size_t dirty_utf8_sequence(const uint8_t *p, size_t left, uint32_t *code);

bool dirty_utf8_is_control(uint32_t code);

/* Replace by '?', in place: every control except the characters in `keep`, and every byte
 * that is not valid UTF-8. Returns the new length, which is never larger. Writes no
 * NUL. */
size_t dirty_utf8_tame(char *text, size_t len, const char *keep);

#endif
