#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define BUF_MIN 256

void dirty_buf_deinit(dirty_buf *b) {
    free(b->base);
    *b = (dirty_buf){0};
}

int dirty__buf_grow(dirty_buf *b, size_t more) {
    if (more > SIZE_MAX / 2 - b->len)
        return -ENOMEM;
    size_t cap = b->cap ? b->cap : BUF_MIN;
    while (cap < b->len + more)
        cap *= 2;
    uint8_t *base = realloc(b->base, cap);
    if (base == NULL)
        return -ENOMEM;
    b->base = base;
    b->cap = cap;
    return 0;
}

void dirty_buf_append(dirty_buf *b, const void *data, size_t len) {
    if (b->failed || len == 0)
        return;
    if (dirty_buf_reserve(b, len) < 0) {
        b->failed = true;
        return;
    }
    memcpy(b->base + b->len, data, len);
    b->len += len;
}

void dirty_buf_append_cstr(dirty_buf *b, const char *text) {
    dirty_buf_append(b, text, strlen(text));
}

void dirty_buf_printf(dirty_buf *b, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (!b->failed) {
        if (need < 0 || dirty_buf_reserve(b, (size_t)need + 1) < 0) {
            b->failed = true;
        } else {
            vsnprintf((char *)b->base + b->len, (size_t)need + 1, format, again);
            b->len += (size_t)need;
        }
    }
    va_end(again);
}

void dirty_buf_json_string(dirty_buf *b, const char *text, size_t len) {
    const uint8_t *p = (const uint8_t *)text, *end = p + len;
    dirty_buf_append(b, "\"", 1);
    while (p < end) {
        uint32_t code;
        size_t n = dirty_utf8_sequence(p, (size_t)(end - p), &code);
        if (n == 0)
            dirty_buf_append_cstr(b, "\\ufffd");
        else if (*p == '"' || *p == '\\')
            dirty_buf_printf(b, "\\%c", *p);
        else if (*p == '\n')
            dirty_buf_append_cstr(b, "\\n");
        else if (dirty_utf8_is_control(code))
            dirty_buf_printf(b, "\\u%04x", (unsigned)code);
        else
            dirty_buf_append(b, p, n);
        p += n ? n : 1;
    }
    dirty_buf_append(b, "\"", 1);
}
