#include "fixtures.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *what, const char *where) {
    fprintf(stderr, "fixtures: %s: %.60s\n", what, where);
    abort();
}

static char *read_file(const char *path) {
    dirty_buf b = {0};
    char part[4096];
    size_t n;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        die("cannot open, run this from the repository's root", path);
    while ((n = fread(part, 1, sizeof part, file)) > 0)
        dirty_buf_append(&b, part, n);
    fclose(file);
    dirty_buf_append(&b, "", 1);
    if (dirty_buf_failed(&b))
        die("no memory for", path);
    return (char *)b.base;
}

/* Cut the comment and the spaces before it off a line. */
static void strip(char *line) {
    char quote = 0, *end = line;
    for (; *end && (quote || *end != '#'); end++) {
        if (quote)
            quote = *end == quote ? 0 : quote;
        else if (*end == '"' || *end == '\'')
            quote = *end;
    }
    while (end > line && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
}

static void add_line(fixture *f, char *line) {
    char *colon = strstr(line, ": ");
    if (colon == NULL || f->line_count == FIXTURE_LINES_MAX)
        die("not a \"key: value\" line, or too many of them", line);
    *colon = '\0';
    char *value = colon + 2;
    f->keys[f->line_count] = line;
    f->values[f->line_count++] = value;
    if (strcmp(line, "name") == 0)
        f->name = value;
    if (strcmp(line, "frame") == 0)
        fixture_bytes(value, &f->frame);
}

fixtures *fixtures_load(const char *path) {
    fixtures *f = calloc(1, sizeof *f);
    if (f == NULL)
        die("no memory for", path);
    f->text = read_file(path);
    bool in_record = false;
    char *next;
    for (char *line = f->text; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        bool is_comment = *line == '#';
        strip(line);
        if (*line == '\0') {
            in_record = in_record && is_comment;
            continue;
        }
        if (!in_record && f->count++ == FIXTURES_MAX)
            die("too many records", path);
        in_record = true;
        add_line(&f->all[f->count - 1], line);
    }
    return f;
}

void fixtures_free(fixtures *f) {
    for (size_t i = 0; i < f->count; i++)
        dirty_buf_deinit(&f->all[i].frame);
    free(f->text);
    free(f);
}

const char *fixture_text(const fixture *f, const char *key, size_t nth) {
    for (size_t i = 0; i < f->line_count; i++)
        if (strcmp(f->keys[i], key) == 0 && nth-- == 0)
            return f->values[i];
    return NULL;
}

long fixture_number(const fixture *f, const char *key, long otherwise) {
    const char *text = fixture_text(f, key, 0);
    return text ? strtol(text, NULL, 10) : otherwise;
}

/* One byte, or many of it: HH, HH*N. Returns what follows. */
static const char *hex_token(const char *at, dirty_buf *out) {
    if (!isxdigit((unsigned char)at[0]) || !isxdigit((unsigned char)at[1]))
        die("not a byte", at);
    char digits[3] = {at[0], at[1], 0};
    uint8_t byte = (uint8_t)strtoul(digits, NULL, 16);
    char *end = (char *)(uintptr_t)at + 2;
    unsigned long times = *end == '*' ? strtoul(end + 1, &end, 10) : 1;
    while (times-- > 0)
        dirty_buf_append(out, &byte, 1);
    return end;
}

void fixture_bytes(const char *value, dirty_buf *out) {
    const char *at = value;
    while (*at) {
        if (*at == '"' || *at == '\'') {
            const char *end = strchr(at + 1, *at);
            if (end == NULL)
                die("quote without end", at);
            dirty_buf_append(out, at + 1, (size_t)(end - at - 1));
            at = end + 1;
        } else {
            at = hex_token(at, out);
        }
        if (*at && *at != ' ')
            die("no space between bytes", at);
        at += strspn(at, " ");
    }
    if (dirty_buf_failed(out))
        die("no memory for", value);
}
