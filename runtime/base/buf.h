/* buf: a growable byte buffer.
 *
 * Begins zeroed (`= {0}`) and ends with dirty_buf_deinit. The capacity doubles
 * when it grows. A failed allocation is sticky: later appends do nothing and
 * dirty_buf_failed() returns true. So a writer checks once, at the end. */
#ifndef DIRTY_BUF_H
#define DIRTY_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct dirty_buf {
    uint8_t *base; /* owned; NULL while cap is 0 */
    size_t len;
    size_t cap;
    bool failed;
} dirty_buf;

void dirty_buf_deinit(dirty_buf *b);

/* The slow part of reserve; nothing else calls it. */
int dirty__buf_grow(dirty_buf *b, size_t more);

/* Make room for `more` further bytes. Returns 0, or -ENOMEM with the buffer unchanged. */
static inline int dirty_buf_reserve(dirty_buf *b, size_t more) {
    return b->cap - b->len >= more ? 0 : dirty__buf_grow(b, more);
}

void dirty_buf_append(dirty_buf *b, const void *data, size_t len);
void dirty_buf_append_cstr(dirty_buf *b, const char *text);
void dirty_buf_printf(dirty_buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Append `text` as a JSON string with its quotes. Controls (base/utf8.h) are escaped.
 * Bytes from 0x80 on that are not valid UTF-8 become U+FFFD. So the result is always
 * valid JSON. */
void dirty_buf_json_string(dirty_buf *b, const char *text, size_t len);

/* Drop the first `count` bytes and move the rest to the front. */
static inline void dirty_buf_consume(dirty_buf *b, size_t count) {
    if (count < b->len)
        memmove(b->base, b->base + count, b->len - count);
    b->len = count < b->len ? b->len - count : 0;
}

static inline bool dirty_buf_failed(const dirty_buf *b) {
    return b->failed;
}

#endif
