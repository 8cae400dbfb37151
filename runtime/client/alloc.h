/* alloc: the only source of memory of libdirty.
 *
 * Both functions are weak. So a test program can define its own and let the Nth
 * allocation fail. A normally linked library pays nothing for that. */
#ifndef DIRTY_ALLOC_H
#define DIRTY_ALLOC_H

#include <stddef.h>

/* As realloc(3); allocates if p is NULL. Returns NULL if there is no memory, with p
 * unchanged. */
void *dirty_realloc(void *p, size_t size);

/* As free(3). */
void dirty_dealloc(void *p);

#endif
