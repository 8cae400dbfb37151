#include "arbiter/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* Limit of bytes per wake-up: output must not delay requests. */
#define READ_MAX 8192
/* Limit of bytes logged after a worker's death: more than a pipe holds by default. */
#define LAST_MAX (128u * 1024)

int output_pipe(output *o, const char *stream, int *theirs) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    o->stream = stream;
    o->fd = fds[0];
    *theirs = fds[1];
    return fcntl(o->fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static void tell_suppressed(output *o) {
    if (o->bucket.refused > 0)
        dirty_log(DIRTY_LOG_WARN, "output suppressed", "%s stream=%s lines=%llu", o->from,
                  o->stream, (unsigned long long)o->bucket.refused);
    o->bucket.refused = 0;
}

static void log_line(output *o) {
    o->line[o->len] = '\0';
    if (o->len > 0 &&
        dirty_bucket_pass(&o->bucket, DIRTY_APP_LINES_BURST, DIRTY_APP_LINES_PER_S)) {
        tell_suppressed(o);
        dirty_log(DIRTY_LOG_INFO, "output", "%s stream=%s text=%s", o->from, o->stream,
                  DIRTY_LOG_QUOTE(o->line));
    }
    o->len = 0;
}

static void take(output *o, const char *bytes, size_t len) {
    o->fresh = true;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n' || o->len == sizeof o->line - 1)
            log_line(o);
        if (bytes[i] != '\n')
            o->line[o->len++] = bytes[i] ? bytes[i] : ' ';
    }
}

/* Returns 1 if there may be more, 0 if nothing is there now, -1 at the end. */
static int read_some(output *o) {
    char bytes[READ_MAX];
    ssize_t n = read(o->fd, bytes, sizeof bytes);
    if (n > 0)
        take(o, bytes, (size_t)n);
    if (n > 0)
        return 1;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static void on_readable(uv_poll_t *handle, int status, int events) {
    output *o = (output *)((char *)handle - offsetof(output, poll));
    (void)events;
    if (status < 0 || read_some(o) < 0)
        uv_poll_stop(&o->poll);
}

int output_open(output *o, uv_loop_t *loop, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(o->from, sizeof o->from, format, args);
    va_end(args);
    int rc = uv_poll_init(loop, &o->poll, o->fd);
    if (rc < 0)
        return rc;
    o->open = true;
    return uv_poll_start(&o->poll, UV_READABLE, on_readable);
}

void output_flush(output *o) {
    if (!o->fresh)
        log_line(o);
    o->fresh = false;
    tell_suppressed(o);
}

void output_close(output *o, uv_close_cb closed) {
    if (o->fd < 0)
        return;
    for (size_t taken = 0; o->open && taken < LAST_MAX && read_some(o) > 0;)
        taken += READ_MAX;
    log_line(o);
    tell_suppressed(o);
    if (o->open)
        uv_close((uv_handle_t *)&o->poll, closed);
    o->open = false;
    close(o->fd);
    o->fd = -1;
}
