/* slice: borrowed bytes with a length, never NUL-terminated. The function that returns
 * one says who owns the bytes. */
#ifndef DIRTY_SLICE_H
#define DIRTY_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct dirty_slice {
    const char *base;
    size_t len;
} dirty_slice;

static inline dirty_slice dirty_slice_cstr(const char *s) {
    return (dirty_slice){s, strlen(s)};
}

static inline bool dirty_slice_equals(dirty_slice a, const char *b, size_t len) {
    return a.len == len && memcmp(a.base, b, len) == 0;
}

#endif
