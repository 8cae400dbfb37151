/* logfmt: lines of key=value, and the same as JSON. */
#ifndef DIRTY_LOGFMT_H
#define DIRTY_LOGFMT_H

#include <stddef.h>

/* Turn `line` (key=value …, values bare or in quotes with \" \\ \n \t escaped) into one
 * JSON object in `out`: bare numbers, true, false and null stay what they are, everything
 * else becomes a string. What does not fit into `size` bytes is left out field by field.
 * Returns the length; no NUL is written. size is at least 2. */
size_t dirty_logfmt_to_json(const char *line, size_t len, char *out, size_t size);

#endif
