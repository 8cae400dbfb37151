/* json_peek: read one member of a JSON object without a JSON library. libdirty needs a
 * single word of an error's details, the arbiter the words of a boot failure; everything
 * else they hand on as text. */
#ifndef DIRTY_JSON_PEEK_H
#define DIRTY_JSON_PEEK_H

#include "base/slice.h"

/* The string value of `key` in the object `text`, as it is written, without its quotes,
 * the last one where there are several, as who reads all of it has it; base NULL if text
 * is no object, has no such member or another kind of value there. Never reads past text,
 * whatever it holds. Borrowed from text. */
dirty_slice dirty_json_peek_string(dirty_slice text, const char *key);

/* Copy a string's value as dirty_json_peek_string gives it, escapes undone, into `out`,
 * cut to size - 1 bytes and ended by a NUL. \uXXXX beyond ASCII becomes '?'. Returns
 * out. */
const char *dirty_json_unescape(dirty_slice value, char *out, size_t size);

#endif
