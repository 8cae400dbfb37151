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

/* -- Text ------------------------------------------------------------------------ */

/* A value of more bytes, or with a newline, gets lines of its own. */
#define SHORT_MAX 60
#define MARGIN "    "

/* One field of a line. `value` is unescaped and owned by the reader. */
typedef struct field {
    const char *key;
    size_t key_len;
    dirty_buf value;
} field;

/* Read the field at `p`. Returns the number of bytes used of the line. */
static size_t read_field(const char *p, size_t len, field *f) {
    const char *equals = memchr(p, '=', len);
    f->key = p;
    f->key_len = equals ? (size_t)(equals - p) : len;
    f->value.len = 0;
    size_t at = f->key_len + 1;
    if (at >= len)
        return len;
    if (p[at] == '"')
        return at + 1 + unquote(p + at + 1, len - at - 1, &f->value);
    size_t end = at;
    while (end < len && p[end] != ' ')
        end++;
    dirty_buf_append(&f->value, p + at, end - at);
    return end;
}

static bool is_key(const field *f, const char *key) {
    return f->key_len == strlen(key) && memcmp(f->key, key, f->key_len) == 0;
}

static bool is_value(const field *f, const char *value) {
    return f->value.len == strlen(value) &&
           memcmp(f->value.base, value, f->value.len) == 0;
}

/* Append the value on lines of its own, with a margin. */
static void append_lines(dirty_buf *out, const dirty_buf *value) {
    dirty_buf_append_cstr(out, "\n" MARGIN);
    for (size_t i = 0; i < value->len; i++) {
        dirty_buf_append(out, value->base + i, 1);
        if (value->base[i] == '\n')
            dirty_buf_append_cstr(out, MARGIN);
    }
}

static bool is_long(const dirty_buf *value) {
    return value->len > SHORT_MAX ||
           (value->len > 0 && memchr(value->base, '\n', value->len) != NULL);
}

/* The time of day of a time stamp. */
static void append_time(dirty_buf *out, const dirty_buf *stamp) {
    const char *t = stamp->len > 0 ? memchr(stamp->base, 'T', stamp->len) : NULL;
    if (t != NULL)
        dirty_buf_append(out, t + 1,
                         stamp->len - (size_t)(t + 1 - (char *)stamp->base) - 1);
}

static void append_words(dirty_buf *head, dirty_buf *tail, const field *f,
                         bool *printed) {
    if (is_key(f, "ts")) {
        append_time(head, &f->value);
    } else if (is_key(f, "level") || is_key(f, "who")) {
        dirty_buf_append_cstr(head, " ");
        dirty_buf_append(head, f->value.base, f->value.len);
    } else if (is_key(f, "msg")) {
        *printed = is_value(f, "output");
        dirty_buf_append_cstr(head, *printed ? " |" : ": ");
        if (!*printed)
            dirty_buf_append(head, f->value.base, f->value.len);
    } else if (*printed && is_key(f, "text")) {
        dirty_buf_append_cstr(head, " ");
        dirty_buf_append(head, f->value.base, f->value.len);
    } else if (!is_key(f, "pid") && !*printed && is_long(&f->value)) {
        append_lines(tail, &f->value);
    } else if (!is_key(f, "pid") && !*printed && f->value.len > 0) {
        dirty_buf_append_cstr(head, " ");
        dirty_buf_append(head, f->key, f->key_len + 1);
        dirty_buf_append(head, f->value.base, f->value.len);
    }
}

size_t dirty_logfmt_to_text(const char *line, size_t len, char *out, size_t size) {
    dirty_buf head = {0}, tail = {0};
    field f = {0};
    bool printed = false;
    for (size_t at = 0; at < len;) {
        if (line[at] == ' ') {
            at++;
            continue;
        }
        at += read_field(line + at, len - at, &f);
        if (!dirty_buf_failed(&f.value))
            append_words(&head, &tail, &f, &printed);
    }
    dirty_buf_append(&head, tail.base, tail.len);
    size_t used = dirty_buf_failed(&head) ? 0 : head.len < size ? head.len : size;
    if (used > 0)
        memcpy(out, head.base, used);
    dirty_buf_deinit(&f.value);
    dirty_buf_deinit(&head);
    dirty_buf_deinit(&tail);
    return used;
}
