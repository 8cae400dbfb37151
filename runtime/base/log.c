#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/logfmt.h"
#include "base/safe_file.h"
#include "base/utf8.h"

#define LINE_MAX_LEN 4096
#define WRITE_TRIES 3

/* One log per process. It is set up before threads start. */
static struct {
    int fd;
    dirty_log_level level;
    char *path; /* owned; NULL: stderr */
    char who[32];
    void (*tap)(const char *text, size_t len); /* called for errors; NULL: none */
    dirty_log_format format;
    bool elsewhere; /* the log is another file than stderr */
    bool echo;      /* copy errors to stderr, if elsewhere */
    int stderr_fd;  /* the real stderr */
} state = {.stderr_fd = 2, .fd = 2, .level = DIRTY_LOG_INFO, .who = "dirty"};

/* Lines lost since the last one that was written; counts all threads. */
static atomic_uint dropped;

static const char *const level_names[] = {
    [DIRTY_LOG_DEBUG] = "debug",
    [DIRTY_LOG_INFO] = "info",
    [DIRTY_LOG_WARN] = "warn",
    [DIRTY_LOG_ERROR] = "error",
};

static int open_file(const char *path) {
    return dirty_safe_open(path, O_WRONLY | O_APPEND | O_CREAT, 0640,
                           DIRTY_SAFE_DEVICES | DIRTY_SAFE_GIVE);
}

static bool is_stderr(int fd) {
    struct stat file, err;
    return fstat(fd, &file) < 0 || fstat(STDERR_FILENO, &err) < 0 ||
           (file.st_dev == err.st_dev && file.st_ino == err.st_ino);
}

int dirty_log_open(const char *path, dirty_log_level level) {
    char *copy = NULL;
    int fd = 2;
    if (path != NULL) {
        copy = strdup(path);
        if (copy == NULL)
            return -ENOMEM;
        fd = open_file(path);
        if (fd < 0) {
            free(copy);
            return fd;
        }
    }
    if (state.fd != 2)
        close(state.fd);
    free(state.path);
    state.fd = fd;
    state.path = copy;
    state.level = level;
    state.elsewhere = fd != STDERR_FILENO && !is_stderr(fd);
    return 0;
}

int dirty_log_reopen(void) {
    if (state.path == NULL)
        return 0;
    int fd = open_file(state.path);
    if (fd < 0)
        return fd;
    /* dup3 replaces the file under the same number, so threads never see a closed log */
    int rc = dup3(fd, state.fd, O_CLOEXEC) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

const char *dirty_log_path(void) {
    return state.path;
}

void dirty_log_relay(int fd) {
    if (state.fd != 2)
        close(state.fd);
    free(state.path);
    state.path = NULL;
    state.fd = fd;
}

void dirty_log_tap(void (*tap)(const char *text, size_t len)) {
    state.tap = tap;
}

void dirty_log_set_level(dirty_log_level level) {
    state.level = level;
}

void dirty_log_as(dirty_log_format format) {
    state.format = format;
}

void dirty_log_keep(void) {
    int fd = state.fd == 2 ? fcntl(2, F_DUPFD_CLOEXEC, 3) : -1;
    if (fd >= 0)
        state.fd = fd;
}

int dirty_log_fd(void) {
    return state.fd;
}

void dirty_log_who(const char *who) {
    snprintf(state.who, sizeof state.who, "%s", who);
}

bool dirty_log_takes(dirty_log_level level) {
    return level >= state.level;
}

int dirty_log_level_parse(const char *name) {
    for (int i = DIRTY_LOG_DEBUG; i <= DIRTY_LOG_ERROR; i++)
        if (strcmp(level_names[i], name) == 0)
            return i;
    return -1;
}

void dirty_log_set_level_name(const char *name) {
    int level = name != NULL ? dirty_log_level_parse(name) : -1;
    if (level >= 0)
        dirty_log_set_level((dirty_log_level)level);
}

const char *dirty_log_quote(dirty_log_quoted *room, const char *text) {
    size_t at = 0, room_len = sizeof room->text - 4; /* an escape, the quote, the NUL */
    room->text[at++] = '"';
    for (; *text && at < room_len; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\' || c == '\n' || c == '\t') {
            room->text[at++] = '\\';
            room->text[at++] = c == '\n' ? 'n' : c == '\t' ? 't' : (char)c;
        } else {
            room->text[at++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
        }
    }
    room->text[at++] = '"';
    room->text[at] = '\0';
    return room->text;
}

static size_t stamp(char *line, size_t size, dirty_log_level level) {
    struct timespec t;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    size_t at = strftime(line, size, "ts=%Y-%m-%dT%H:%M:%S", &tm);
    int n = snprintf(line + at, size - at, ".%03ldZ level=%s who=%s pid=%d",
                     t.tv_nsec / 1000000, level_names[level], state.who, (int)getpid());
    return at + (size_t)n;
}

void dirty_log_echo(bool on) {
    state.echo = on;
}

void dirty_log_stderr(int fd) {
    state.stderr_fd = fd;
}

/* Whether a write would find no room. This is a guess, because other processes write
 * there too. A line is at most PIPE_BUF long, so poll's answer for a pipe holds for all
 * of it. */
static bool would_block(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, 0) == 0;
}

/* Write without blocking, even to a pipe that nobody reads or a stopped terminal. The
 * kernel is asked not to block. Where it can't do that (terminals, pipes before Linux 6.4
 * that we did not open), poll first. */
static ssize_t write_now(int fd, const char *line, size_t len) {
    struct stat st;
    const struct iovec part = {(char *)line, len};
    if (fstat(fd, &st) < 0)
        return -1;
    if (S_ISREG(st.st_mode))
        return write(fd, line, len);
    if (S_ISSOCK(st.st_mode))
        return send(fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    ssize_t n = pwritev2(fd, &part, 1, -1, RWF_NOWAIT);
    if (n >= 0 || errno == EAGAIN || errno == EINTR || errno == EPIPE)
        return n;
    return would_block(fd) ? -1 : write(fd, line, len);
}

/* Write a line. A full disk or a closed stderr must not end the runtime: the line is
 * lost, and the next one that is written says how many were lost. */
static void write_line(const char *line, size_t len) {
    ssize_t n = -1;
    errno = EINTR;
    /* EINTR may also be the timer that ends a blocking write (base/patience.h). */
    for (int tries = 0; n < 0 && errno == EINTR && tries < WRITE_TRIES; tries++)
        n = write_now(state.fd, line, len);
    if (n < (ssize_t)len) { /* the rest of a partly written line is lost */
        atomic_fetch_add(&dropped, 1);
        return;
    }
    unsigned lost = atomic_exchange(&dropped, 0);
    if (lost > 0)
        dirty_log(DIRTY_LOG_WARN,
                  "log lines were lost: nobody read them, or the disk was full",
                  "lines=%u", lost);
}

void dirty_log_pass(const char *line, size_t len) {
    char whole[LINE_MAX_LEN];
    if (len > sizeof whole - 1)
        len = sizeof whole - 1;
    memcpy(whole, line, len);
    whole[len] = '\n';
    write_line(whole, len + 1);
}

/* The new end of the text after snprintf wrote at `at`, limited to `room`. */
static size_t after(size_t at, int n, size_t room) {
    if (n <= 0)
        return at;
    return (size_t)n < room - at ? at + (size_t)n : room - 1;
}

void dirty_log(dirty_log_level level, const char *msg, const char *format, ...) {
    if (!dirty_log_takes(level))
        return;
    int saved = errno;
    char line[LINE_MAX_LEN];
    size_t room = sizeof line - 1; /* the newline always fits */
    size_t stamped = stamp(line, room, level), at = stamped;
    int n = snprintf(line + at, room - at, " msg=%s ", DIRTY_LOG_QUOTE(msg));
    at = after(at, n, room);
    va_list args;
    va_start(args, format);
    n = vsnprintf(line + at, room - at, format, args);
    va_end(args);
    at = after(at, n, room);
    if (line[at - 1] == ' ')
        at--;
    /* A line must stay one line and must not control the reader's terminal, even if the
     * caller forgot to quote. */
    at = dirty_utf8_tame(line, at, "");
    if (level == DIRTY_LOG_ERROR && state.tap != NULL)
        state.tap(line + stamped, at - stamped);
    if (state.format != DIRTY_LOG_LOGFMT) {
        char other[LINE_MAX_LEN];
        at = state.format == DIRTY_LOG_JSON
                 ? dirty_logfmt_to_json(line, at, other, sizeof other - 1)
                 : dirty_logfmt_to_text(line, at, other, sizeof other - 1);
        memcpy(line, other, at);
    }
    if (at > room) /* never true, but the compiler and the linters can't know */
        at = room;
    line[at++] = '\n';
    write_line(line, at);
    if (level == DIRTY_LOG_ERROR && state.echo && state.elsewhere)
        write_now(state.stderr_fd, line, at);
    errno = saved;
}

void dirty_log_told(const char *msg) {
    void (*tap)(const char *text, size_t len) = state.tap;
    bool echo = state.echo;
    if (!state.elsewhere)
        return;
    state.tap = NULL;
    state.echo = false;
    dirty_log_msg(DIRTY_LOG_ERROR, msg);
    state.tap = tap;
    state.echo = echo;
}

void dirty_log_msg(dirty_log_level level, const char *msg) {
    dirty_log(level, msg, "%s", "");
}

const char *dirty_log_remedy(int negative_errno) {
    switch (-negative_errno) {
    case EMFILE: return "raise the limit of open files (ulimit -n, LimitNOFILE)";
    case ENFILE: return "the system is out of open files: raise fs.file-max";
    case EAGAIN: return "raise the limit of processes (ulimit -u, TasksMax)";
    case ENOMEM: return "free memory, or raise its limit";
    default: return "";
    }
}
