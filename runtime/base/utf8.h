/* utf8: characters of a text, and those that no log or terminal shall be given.
 *
 * A control is what a terminal takes for a command, or for the end of a line that nobody
 * has ended: C0 and DEL, C1 (U+0080 to U+009F), the separators of lines and paragraphs,
 * and what turns the direction of writing. */
#ifndef DIRTY_UTF8_H
#define DIRTY_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the valid sequence at `p` (RFC 3629, section 4), with *code set; 0 if there
 * is none. left is at least 1. */
size_t dirty_utf8_sequence(const uint8_t *p, size_t left, uint32_t *code);

bool dirty_utf8_is_control(uint32_t code);

/* Replace in place by '?': every control but the characters of `keep`, and every byte
 * that is no UTF-8. Returns the new length, which is never more; no NUL is written. */
size_t dirty_utf8_tame(char *text, size_t len, const char *keep);

#endif
