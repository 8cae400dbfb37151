/* json_peek: read one member of a JSON object without a JSON library. libdirty needs a
 * single word of an error's details; everything else it hands on as text. */
#ifndef DIRTY_JSON_PEEK_H
#define DIRTY_JSON_PEEK_H

#include "base/slice.h"

/* The string value of `key` in the object `text`, as it is written, without its quotes;
 * base NULL if text is no object, has no such member or another kind of value there.
 * Never reads past text, whatever it holds. Borrowed from text. */
dirty_slice dirty_json_peek_string(dirty_slice text, const char *key);

#endif
