/* alloc: the one place libdirty gets memory from.
 *
 * Both functions are weak, so that a test program can bring its own and fail the Nth
 * allocation; a library that is linked as usual pays nothing for that. */
#ifndef DIRTY_ALLOC_H
#define DIRTY_ALLOC_H

#include <stddef.h>

/* As realloc(3): p NULL allocates. NULL if there is no memory (p is as it was). */
void *dirty_realloc(void *p, size_t size);

/* As free(3). */
void dirty_dealloc(void *p);

#endif
