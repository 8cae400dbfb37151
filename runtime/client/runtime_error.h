/* said: what a runtime said while it started, for people. Its log is lines of key=value:
 * what is left of one of them here, ` msg="can't listen" socket=… reason=… remedy=…`,
 * becomes "can't listen (socket …): reason; remedy". Other lines stay as they are. */
#ifndef DIRTY_CLIENT_RUNTIME_ERROR_H
#define DIRTY_CLIENT_RUNTIME_ERROR_H

#include <stddef.h>

/* Write the text to `out`, NUL-terminated and cut at `size` (1 at least), without the end
 * of its last line. */
void dirty_runtime_error_text(const char *said, char *out, size_t size);

#endif
