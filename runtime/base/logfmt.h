/* logfmt: converts lines of key=value to JSON, or to text for people. */
#ifndef DIRTY_LOGFMT_H
#define DIRTY_LOGFMT_H

#include <stddef.h>

/* Convert `line` to one JSON object in `out`. The line holds key=value pairs; values are
 * bare, or quoted with \" \\ \n \t as escapes. Bare numbers, true, false and null keep
 * their type; everything else becomes a string. Fields that do not fit into `size` bytes
 * (at least 2) are left out. Returns the length; writes no NUL. */
size_t dirty_logfmt_to_json(const char *line, size_t len, char *out, size_t size);

/* Convert a line of the log, which begins with ts, level, who, pid and msg, to text:
 *
 *     12:30:05.123 error worker 1: call failed app=x code=APP
 *         x.lua:7: no such file
 *         stack traceback: …
 *
 * Values that are long or have newlines follow on lines of their own, without their key.
 * What an app printed is the line itself. The rest is as above. */
size_t dirty_logfmt_to_text(const char *line, size_t len, char *out, size_t size);

#endif
