/* search_path: lists of templates as package.path and package.cpath hold them, such as
 * "./?.lua;/usr/share/lua/5.1/?.lua". */
#ifndef DIRTY_SEARCH_PATH_H
#define DIRTY_SEARCH_PATH_H

#include <stddef.h>

/* Copy to `out`, which has room for strlen(templates) + 1 bytes, those that begin with
 * '/', in their order: what is found by them does not depend on the working directory.
 * Returns the length; a NUL follows. */
size_t dirty_search_path_absolute(const char *templates, char *out);

#endif
