/* fixtures: the byte vectors of spec/fixtures, for C tests. A file is a list of records,
 * a record a list of "key: value" lines; the grammar of values is told in the files.
 *
 * A broken fixture file is a bug of ours: these functions print it and end the test. */
#ifndef DIRTY_SPEC_FIXTURES_H
#define DIRTY_SPEC_FIXTURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define FIXTURE_LINES_MAX 64
#define FIXTURES_MAX 256

typedef struct fixture {
    const char *name;
    size_t line_count;
    const char *keys[FIXTURE_LINES_MAX], *values[FIXTURE_LINES_MAX]; /* of the file */
    dirty_buf frame;                                                 /* owned */
} fixture;

typedef struct fixtures {
    char *text; /* owned: the whole file, cut into strings */
    size_t count;
    fixture all[FIXTURES_MAX];
} fixtures;

/* Read a file, path relative to the repository's root. Free it with fixtures_free. */
fixtures *fixtures_load(const char *path);
void fixtures_free(fixtures *f);

/* Value of the nth line with this key, NULL if there are not as many. */
const char *fixture_text(const fixture *f, const char *key, size_t nth);

/* The number there, or what it is where there is none. */
long fixture_number(const fixture *f, const char *key, long otherwise);

/* Append the bytes that `value` denotes. */
void fixture_bytes(const char *value, dirty_buf *out);

#endif
