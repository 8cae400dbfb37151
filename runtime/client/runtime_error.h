/* runtime_error: makes the output of a failed start readable for people. The runtime logs
 * lines of key=value. The rest of such a line that comes here, such as ` msg="can't
 * listen" socket=… reason=… remedy=…`, becomes "can't listen (socket …): reason; remedy".
 * Other lines stay unchanged. */
#ifndef DIRTY_CLIENT_RUNTIME_ERROR_H
#define DIRTY_CLIENT_RUNTIME_ERROR_H

#include <stddef.h>

/* Convert `said` to text in `out`, NUL-terminated and cut to `size` bytes (at least 1),
 * without the final newline. */
void dirty_runtime_error_text(const char *said, char *out, size_t size);

#endif
