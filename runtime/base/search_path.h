/* search_path: lists of templates like package.path and package.cpath, such as
 * "./?.lua;/usr/share/lua/5.1/?.lua". */
#ifndef DIRTY_SEARCH_PATH_H
#define DIRTY_SEARCH_PATH_H

#include <stddef.h>

/* Copy the templates that begin with '/' to `out`, in their order. Then the working
 * directory does not matter to a search. `out` has room for strlen(templates) + 1 bytes.
 * Returns the length; a NUL follows. */
size_t dirty_search_path_absolute(const char *templates, char *out);

#endif
