#include "client/runtime_error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "client/runtime.h"

typedef struct words {
    char *out;
    size_t len, size;
    bool bracket; /* a bracket is open */
} words;

static void put(words *w, const char *text, size_t len) {
    size_t room = w->size - 1 - w->len;
    if (len > room)
        len = room;
    memcpy(w->out + w->len, text, len);
    w->len += len;
}

static void put_cstr(words *w, const char *text) {
    put(w, text, strlen(text));
}

static void close_bracket(words *w) {
    if (w->bracket)
        put_cstr(w, ")");
    w->bracket = false;
}

/* Write a value, bare or quoted, without its escapes. Returns what follows it. */
static const char *put_value(words *w, const char *p) {
    if (*p != '"') {
        size_t len = strcspn(p, " \n");
        put(w, p, len);
        return p + len;
    }
    for (p++; *p != '\0' && *p != '"' && *p != '\n'; p++) {
        char c = *p;
        if (c == '\\' && p[1] != '\0') {
            c = *++p;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        put(w, &c, 1);
    }
    return *p == '"' ? p + 1 : p;
}

static bool is_key(const char *p, size_t len, const char *key) {
    return strlen(key) == len && memcmp(p, key, len) == 0;
}

static const char *put_field(words *w, const char *p) {
    size_t len = strcspn(p, "= \n");
    if (p[len] != '=') {
        put(w, p, len);
        return p + len;
    }
    bool is_msg = is_key(p, len, "msg"), is_reason = is_key(p, len, "reason");
    if (is_msg || is_reason || is_key(p, len, "remedy")) {
        close_bracket(w);
        put_cstr(w, is_msg ? "" : is_reason ? ": " : "; ");
    } else {
        put_cstr(w, w->bracket ? ", " : " (");
        put(w, p, len);
        put_cstr(w, " ");
        w->bracket = true;
    }
    return put_value(w, p + len + 1);
}

/* Write one line. Returns what follows it. */
static const char *put_line(words *w, const char *p) {
    if (strncmp(p, " msg=", 5) != 0) {
        size_t len = strcspn(p, "\n");
        put(w, p, len);
        return p + len;
    }
    while (*p != '\0' && *p != '\n')
        p = *p == ' ' ? p + 1 : put_field(w, p);
    close_bracket(w);
    return p;
}

void dirty_runtime_error_text(const char *said, char *out, size_t size) {
    words w = {.out = out, .size = size};
    while (*said != '\0') {
        said = put_line(&w, said);
        if (*said == '\n') {
            put(&w, said, 1);
            said++;
        }
    }
    while (w.len > 0 && out[w.len - 1] == '\n')
        w.len--;
    out[w.len] = '\0';
}

int dirty_runtime_fail(dirty_runtime *rt, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(rt->message, sizeof rt->message, format, args);
    va_end(args);
    return rt->err = code;
}
