/* output: logs what the apps of a worker print, and the configuration's hooks.
 *
 * A worker's stdout and stderr are pipes to the arbiter. It logs each line with the
 * worker and the stream. So output of print() and of C libraries goes to the log, never
 * into an answer. Reading is bounded per wake-up: a worker that prints faster blocks,
 * as with any pipe. */
#ifndef DIRTY_ARBITER_OUTPUT_H
#define DIRTY_ARBITER_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/ratelimit.h"

#define OUTPUT_LINE_MAX 2048

typedef struct output {
    uv_poll_t poll;
    bool open;
    int fd;
    char from[48];       /* log fields that name the source */
    const char *stream;  /* "stdout", "stderr" */
    dirty_bucket bucket; /* limits logged lines and counts suppressed ones */
    bool fresh;          /* bytes came since the last output_flush */
    size_t len;
    char line[OUTPUT_LINE_MAX]; /* the unfinished line */
} output;

/* Create the pipe: o->fd is the arbiter's end, *theirs the worker's. Returns 0 or
 * -errno. */
int output_pipe(output *o, const char *stream, int *theirs);

/* Begin to log what comes from o->fd. The fields of `format` go into each line. Returns
 * 0 or a negative code. */
int output_open(output *o, uv_loop_t *loop, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Called periodically. Log an unfinished line if nothing was added since the last call:
 * the last output of a hanging worker is then visible. Also log how many lines were
 * suppressed. */
void output_flush(output *o);

/* Log the remaining bytes, then close. Calls `closed` with poll.data as the caller set
 * it. */
void output_close(output *o, uv_close_cb closed);

#endif
