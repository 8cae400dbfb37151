/* output: what the apps of a worker print, and the configuration's hooks.
 *
 * A worker's stdout and stderr are pipes to the arbiter, which logs each line, tagged
 * with the worker and the stream: print() and the words of C libraries land in the log
 * and never in a caller's answer. Reading is bounded per wake-up; a worker that prints
 * faster than that waits, as with any pipe. */
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
    char from[48];       /* fields of the log line: whose it is */
    const char *stream;  /* "stdout", "stderr" */
    dirty_bucket bucket; /* lines that may be logged now, and those that were not */
    bool fresh;          /* something came since the last output_flush */
    size_t len;
    char line[OUTPUT_LINE_MAX]; /* the unfinished one */
} output;

/* Make the pipe: o->fd is our end, *theirs the worker's. 0 or -errno. */
int output_pipe(output *o, const char *stream, int *theirs);

/* Begin to log what comes from o->fd, with the fields of `format` in each line. 0 or
 * negative. */
int output_open(output *o, uv_loop_t *loop, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Called now and then: log an unfinished line to which nothing was added since the last
 * time, so that the last words of one that is stuck are seen while it is; and how many
 * lines were not logged. */
void output_flush(output *o);

/* Log what is left, then close; `closed` is called with poll.data as the caller set it.
 */
void output_close(output *o, uv_close_cb closed);

#endif
