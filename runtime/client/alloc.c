#include "client/alloc.h"

#include <stdlib.h>

__attribute__((weak)) void *dirty_realloc(void *p, size_t size) {
    return realloc(p, size);
}

__attribute__((weak)) void dirty_dealloc(void *p) {
    free(p);
}
