#include "base/logfmt.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"

/* A JSON number (RFC 8259, section 6), as far as log values need it. */
static bool is_number(const char *p, size_t len) {
    size_t i = len > 0 && p[0] == '-', start = i;
    bool dot = false;
    for (; i < len; i++) {
        if (p[i] == '.' && !dot && i > start && i + 1 < len)
            dot = true;
        else if (!isdigit((unsigned char)p[i]))
            return false;
    }
    bool leading_zero = len > start + 1 && p[start] == '0' && p[start + 1] != '.';
    return i > start && !leading_zero;
}

static bool is_word(const char *p, size_t len) {
    return (len == 4 && (memcmp(p, "true", 4) == 0 || memcmp(p, "null", 4) == 0)) ||
           (len == 5 && memcmp(p, "false", 5) == 0);
}

/* Unescape a quoted value that starts after its opening quote. Returns the bytes used,
 * closing quote included. */
static size_t unquote(const char *p, size_t len, dirty_buf *out) {
    size_t i = 0;
    for (; i < len && p[i] != '"'; i++) {
        char c = p[i];
        if (c == '\\' && i + 1 < len) {
            c = p[++i];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        dirty_buf_append(out, &c, 1);
    }
    return i < len ? i + 1 : i;
}

/* Append one field as JSON. Returns the number of bytes used of the line. */
static size_t append_field(const char *p, size_t len, dirty_buf *out, dirty_buf *text) {
    const char *equals = memchr(p, '=', len);
    size_t key_len = equals ? (size_t)(equals - p) : len, at = key_len + 1;
    dirty_buf_json_string(out, p, key_len);
    dirty_buf_append(out, ":", 1);
    text->len = 0;
    if (at < len && p[at] == '"') {
        at += 1 + unquote(p + at + 1, len - at - 1, text);
        dirty_buf_json_string(out, text->len ? (char *)text->base : "", text->len);
        return at;
    }
    size_t end = at < len ? at : len;
    while (end < len && p[end] != ' ')
        end++;
    size_t value_len = at < len ? end - at : 0;
    if (is_number(p + at, value_len) || is_word(p + at, value_len))
        dirty_buf_append(out, p + at, value_len);
    else
        dirty_buf_json_string(out, value_len ? p + at : "", value_len);
    return end;
}

size_t dirty_logfmt_to_json(const char *line, size_t len, char *out, size_t size) {
    dirty_buf field = {0}, text = {0};
    size_t at = 0, used = 0;
    out[used++] = '{';
    while (at < len) {
        if (line[at] == ' ') {
            at++;
            continue;
        }
        field.len = 0;
        if (used > 1)
            dirty_buf_append(&field, ",", 1);
        at += append_field(line + at, len - at, &field, &text);
        if (!dirty_buf_failed(&field) && used + field.len + 1 <= size) {
            memcpy(out + used, field.base, field.len);
            used += field.len;
        }
    }
    out[used++] = '}';
    dirty_buf_deinit(&field);
    dirty_buf_deinit(&text);
    return used;
}
