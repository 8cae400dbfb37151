#include "worker/printed.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/utf8.h"

#define READ_MAX 4096
/* How long to wait for a terminal that takes nothing. */
#define PATIENCE_MS 100
/* Bytes that are passed on at the end at most: more than a pipe holds by default. */
#define LAST_MAX (128u * 1024)

int dirty_printed_open(dirty_printed *p) {
    int ends[2];
    *p = (dirty_printed){.fd = -1, .theirs = -1};
    p->out = isatty(STDERR_FILENO) ? STDERR_FILENO : STDOUT_FILENO;
    if (!isatty(STDIN_FILENO) && !isatty(STDOUT_FILENO) && !isatty(STDERR_FILENO))
        return 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    p->fd = ends[0];
    p->theirs = ends[1];
    return fcntl(p->fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int dirty_printed_enter(dirty_printed *p) {
    if (p->theirs < 0)
        return 0;
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing < 0)
        return -errno;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (isatty(fd) && dup2(fd == STDIN_FILENO ? nothing : p->theirs, fd) < 0)
            return -errno;
    close(nothing);
    close(p->theirs);
    close(p->fd);
    setvbuf(stdout, NULL, _IOLBF, 0); /* send each line when it is printed */
    return 0;
}

void dirty_printed_begin(dirty_printed *p) {
    if (p->theirs >= 0)
        close(p->theirs);
    p->theirs = -1;
}

static bool takes_a_line(dirty_printed *p) {
    struct pollfd out = {.fd = p->out, .events = POLLOUT};
    p->stuck = poll(&out, 1, p->stuck ? 0 : PATIENCE_MS) <= 0;
    return !p->stuck;
}

static void tell_line(dirty_printed *p) {
    size_t len = dirty_utf8_tame(p->line, p->len, "\t");
    if (len > 0 && takes_a_line(p))
        dprintf(p->out, "    %.*s\n", (int)len, p->line);
    p->len = 0;
}

static void take(dirty_printed *p, const char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n' || p->len == sizeof p->line)
            tell_line(p);
        if (bytes[i] != '\n')
            p->line[p->len++] = bytes[i];
    }
}

/* Read once and pass it on. Returns whether there may be more. */
static bool read_some(dirty_printed *p) {
    char bytes[READ_MAX];
    ssize_t n = read(p->fd, bytes, sizeof bytes);
    if (n > 0)
        take(p, bytes, (size_t)n);
    if (n > 0 || (n < 0 && errno == EINTR))
        return true;
    if (n == 0 || errno != EAGAIN) {
        close(p->fd);
        p->fd = -1;
    }
    return false;
}

void dirty_printed_pass(dirty_printed *p) {
    if (p->fd >= 0)
        read_some(p);
}

void dirty_printed_close(dirty_printed *p) {
    dirty_printed_begin(p);
    for (size_t taken = 0; p->fd >= 0 && taken < LAST_MAX && read_some(p);)
        taken += READ_MAX;
    tell_line(p);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}
