/* json_peek: reads one member of a JSON object without a JSON library. libdirty needs one
 * word of an error's details, the arbiter the texts of a boot failure. Everything else is
 * passed on as text. */
#ifndef DIRTY_JSON_PEEK_H
#define DIRTY_JSON_PEEK_H

#include "base/slice.h"

/* Find the string value of `key` in the object `text`. Returns it as written, escapes
 * included, without its quotes. If the key occurs several times the last one counts, as
 * in a full parser. base is NULL if text is no object, has no such member, or its value
 * is no string. Never reads past the end of text, whatever it holds. Borrowed from
 * text. */
dirty_slice dirty_json_peek_string(dirty_slice text, const char *key);

/* Copy a value of dirty_json_peek_string into `out` and undo its escapes. The result is
 * cut to size - 1 bytes and NUL-terminated. An escape by four hex digits that is beyond
 * ASCII becomes '?'. Returns out. */
const char *dirty_json_unescape(dirty_slice value, char *out, size_t size);

#endif
