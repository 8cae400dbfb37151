/* logfmt: converts lines of key=value to JSON. */
#ifndef DIRTY_LOGFMT_H
#define DIRTY_LOGFMT_H

#include <stddef.h>

/* Convert `line` to one JSON object in `out`. The line holds key=value pairs; values are
 * bare, or quoted with \" \\ \n \t as escapes. Bare numbers, true, false and null keep
 * their type; everything else becomes a string. Fields that do not fit into `size` bytes
 * (at least 2) are left out. Returns the length; writes no NUL. */
size_t dirty_logfmt_to_json(const char *line, size_t len, char *out, size_t size);

#endif
