#include "base/json_peek.h"

#include <string.h>

typedef struct scanner {
    const char *at, *end;
} scanner;

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char peek(scanner *s) {
    while (s->at < s->end && is_space(*s->at))
        s->at++;
    return s->at < s->end ? *s->at : '\0';
}

static bool take(scanner *s, char c) {
    if (c == '\0' || peek(s) != c)
        return false;
    s->at++;
    return true;
}

/* Read a string, from its opening quote on. */
static bool take_string(scanner *s, dirty_slice *out) {
    if (!take(s, '"'))
        return false;
    const char *start = s->at;
    for (; s->at < s->end && *s->at != '"'; s->at++)
        if (*s->at == '\\' && s->at + 1 < s->end)
            s->at++;
    if (s->at == s->end)
        return false;
    *out = (dirty_slice){start, (size_t)(s->at++ - start)};
    return true;
}

/* Skip any value, up to the ',' or '}' that ends it at its own level. */
static bool skip_value(scanner *s) {
    dirty_slice ignored;
    for (int depth = 0;;) {
        char c = peek(s);
        if (c == '\0')
            return false;
        if (depth == 0 && (c == ',' || c == '}'))
            return true;
        if (c == '"') {
            if (!take_string(s, &ignored))
                return false;
            continue;
        }
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (depth < 0)
            return false;
        s->at++;
    }
}

dirty_slice dirty_json_peek_string(dirty_slice text, const char *key) {
    const dirty_slice none = {NULL, 0};
    scanner s = {text.base, text.base + text.len};
    dirty_slice name, value, found = none;
    if (!take(&s, '{'))
        return none;
    do {
        if (!take_string(&s, &name) || !take(&s, ':'))
            return found;
        if (dirty_slice_equals(name, key, strlen(key)))
            found = peek(&s) == '"' && take_string(&s, &value) ? value : none;
        if (!skip_value(&s))
            return found;
    } while (take(&s, ','));
    return found;
}

static char unescaped(const char *p, size_t left, size_t *used) {
    static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
    const char *found = strchr(from, p[0]);
    *used = 1;
    if (p[0] != 'u')
        return found != NULL && *found != '\0' ? to[found - from] : p[0];
    unsigned code = 0;
    for (size_t i = 1; i <= 4 && i < left; i++, ++*used) {
        const char *digits = "0123456789abcdef", *digit = strchr(digits, p[i] | 0x20);
        code =
            code * 16 + (digit != NULL && p[i] != '\0' ? (unsigned)(digit - digits) : 0);
    }
    return code > 0 && code < 0x80 ? (char)code : '?';
}

const char *dirty_json_unescape(dirty_slice value, char *out, size_t size) {
    size_t at = 0;
    for (size_t i = 0; i < value.len && at + 1 < size; at++) {
        size_t used = 1;
        out[at] = value.base[i];
        if (value.base[i] == '\\' && i + 1 < value.len) {
            out[at] = unescaped(value.base + i + 1, value.len - i - 1, &used);
            used++;
        }
        i += used;
    }
    out[at] = '\0';
    return out;
}
