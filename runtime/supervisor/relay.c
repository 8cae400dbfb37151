#include "supervisor/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/log.h"
#include "base/utf8.h"

/* Maximum number of bytes read from a pipe in one turn. */
#define TURN_BYTES (64u << 10)
/* Room for log lines while we are busy. Root may make a pipe this large. */
#define LOG_ROOM_BYTES (1 << 20)

enum { LOG, OUT, ERR };

static void close_ends(int *ends) {
    for (int i = 0; i < DIRTY_RELAY_PIPES; i++) {
        if (ends[i] >= 0)
            close(ends[i]);
        ends[i] = -1;
    }
}

void dirty_relay_init(dirty_relay *r) {
    r->line_len = 0;
    for (int i = 0; i < DIRTY_RELAY_PIPES; i++)
        r->from[i] = r->to[i] = -1;
}

/* The log's write end is non-blocking. Those of stdout and stderr are not, because the
 * libraries that write there don't expect that. */
int dirty_relay_open(dirty_relay *r) {
    dirty_relay_init(r);
    for (int i = 0; i < DIRTY_RELAY_PIPES; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 ||
            (i != LOG && fcntl(ends[1], F_SETFL, 0) < 0)) {
            int rc = -errno;
            close_ends(r->from);
            close_ends(r->to);
            return rc;
        }
        r->from[i] = ends[0];
        r->to[i] = ends[1];
    }
    fcntl(r->to[LOG], F_SETPIPE_SZ, LOG_ROOM_BYTES);
    return 0;
}

int dirty_relay_enter(dirty_relay *r) {
    if (r->to[LOG] < 0)
        return 0;
    close_ends(r->from);
    dirty_descriptors_close_given();
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 ||
        dup2(r->to[OUT], STDOUT_FILENO) < 0 || dup2(r->to[ERR], STDERR_FILENO) < 0)
        return -errno;
    close(nothing);
    dirty_log_relay(r->to[LOG]);
    r->to[LOG] = -1;
    close_ends(r->to);
    return 0;
}

void dirty_relay_forked(dirty_relay *r) {
    close_ends(r->to);
}

void dirty_relay_poll(const dirty_relay *r, struct pollfd *fds) {
    for (int i = 0; i < DIRTY_RELAY_PIPES; i++)
        fds[i] = (struct pollfd){.fd = r->from[i], .events = POLLIN};
}

/* -- Forwarding ---------------------------------------------------------------------- */

/* Log the line. It may hold anything, and root's terminal may show it: so control
 * characters are replaced. */
static void end_line(dirty_relay *r) {
    size_t len = dirty_utf8_tame(r->line, r->line_len, "");
    if (len > 0)
        dirty_log_pass(r->line, len);
    r->line_len = 0;
}

static void pass_log(dirty_relay *r, const char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n' || r->line_len == sizeof r->line - 1)
            end_line(r);
        if (bytes[i] != '\n')
            r->line[r->line_len++] = bytes[i];
    }
}

/* Write text to `fd`. What does not fit is lost. */
static void pass_text(int fd, char *bytes, size_t len) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    len = dirty_utf8_tame(bytes, len, "\t\n");
    while (len > 0 && poll(&p, 1, 0) == 1) {
        ssize_t n = write(fd, bytes, len);
        if (n <= 0)
            return;
        bytes += n;
        len -= (size_t)n;
    }
}

/* Forward at most `room` bytes of one pipe. */
static void pass(dirty_relay *r, int i, size_t room) {
    char bytes[4096]; /* at most PIPE_BUF, so that poll's answer holds for all of it */
    while (r->from[i] >= 0 && room > 0) {
        ssize_t n = read(r->from[i], bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close(r->from[i]);
            r->from[i] = -1;
            return;
        }
        if (i == LOG)
            pass_log(r, bytes, (size_t)n);
        else
            pass_text(i == OUT ? STDOUT_FILENO : STDERR_FILENO, bytes, (size_t)n);
        room = room > (size_t)n ? room - (size_t)n : 0;
    }
}

void dirty_relay_pass(dirty_relay *r) {
    for (int i = 0; i < DIRTY_RELAY_PIPES; i++)
        pass(r, i, TURN_BYTES);
}

void dirty_relay_close(dirty_relay *r) {
    for (int i = 0; i < DIRTY_RELAY_PIPES; i++)
        pass(r, i, LOG_ROOM_BYTES);
    end_line(r);
    close_ends(r->from);
    close_ends(r->to);
}
