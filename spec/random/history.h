/* history: what happened on a connection, or on all of them, kept for the case that it
 * has to be told. It holds the newest notes only. */
#ifndef RANDOM_HISTORY_H
#define RANDOM_HISTORY_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#define HISTORY_TEXT 112

typedef struct history_line {
    uint64_t at_ns;
    uint64_t serial; /* of the connection */
    char text[HISTORY_TEXT];
} history_line;

typedef struct history {
    history_line *lines; /* owned by whoever made it, `room` of them */
    uint32_t room;
    uint32_t count; /* of all notes ever made */
} history;

void history_note(history *h, uint64_t at_ns, uint64_t serial, const char *text);

/* Forget all of it. */
void history_clear(history *h);

/* Print the last `most` notes, a line each, with milliseconds since zero_ns. */
void history_print(const history *h, uint32_t most, uint64_t zero_ns, FILE *out);

#endif
