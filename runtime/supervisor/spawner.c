#include "supervisor/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/handover.h"
#include "base/lifeline.h"
#include "base/log.h"
#include "base/report.h"
#include "base/exit_status.h"

static struct {
    int fd;       /* the lifeline; in an arbiter its reports; -1: no spawner */
    int pid_fd;   /* pidfd of the spawner; -1: not available */
    pid_t speaks; /* the process that may send messages: in a process that it forks, the
                     number `fd` may belong to something else */
    pid_t first;  /* the process that the spawner started */
    bool ready;
    bool precedes; /* it is the supervisor that we shall succeed */
} spawner = {.fd = -1, .pid_fd = -1};

/* -- Messages ------------------------------------------------------------------------ */

static void tell(dirty_report_kind kind, uint32_t number, const char *text, size_t len) {
    dirty_report r = {.kind = kind, .within_ms = number};
    if (spawner.fd < 0 || spawner.speaks != getpid())
        return;
    do {
        size_t piece = len < sizeof r.text - 1 ? len : sizeof r.text - 1;
        memcpy(r.text, text, piece);
        r.text[piece] = '\0';
        dirty_report_send(spawner.fd, &r);
        text += piece;
        len -= piece;
    } while (len > 0);
}

static void say(const char *text, size_t len) {
    if (!spawner.ready)
        tell(DIRTY_REPORT_SAID, 0, text, len);
}

static void say_error(const char *text, size_t len) {
    say(text, len);
    say("\n", 1);
}

/* The write function of the stream stderr. */
static ssize_t write_both(void *cookie, const char *text, size_t len) {
    (void)cookie;
    ssize_t n;
    say(text, len);
    do
        n = write(STDERR_FILENO, text, len);
    while (n < 0 && errno == EINTR);
    return n < 0 ? 0 : n;
}

static void copy_stderr(void) {
    FILE *both = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_both});
    if (both == NULL)
        return;
    setvbuf(both, NULL, _IONBF, 0);
    stderr = both;
}

/* -- End of the spawner -------------------------------------------------------------- */

static bool has_ended(void) {
    char byte;
    return recv(spawner.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* SIGIO handler. Nobody polls while the configuration is read, so a signal comes when the
 * spawner ends. */
static void on_io(int number) {
    (void)number;
    int saved = errno;
    if (has_ended())
        _exit(DIRTY_EXIT_INTERNAL);
    errno = saved;
}

static void end_with_spawner(void) {
    struct sigaction action = {.sa_handler = on_io, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGIO, &action, NULL);
    fcntl(spawner.fd, F_SETOWN, getpid());
    fcntl(spawner.fd, F_SETFL, O_NONBLOCK | O_ASYNC);
    if (has_ended()) /* it ended before the signal was set up */
        _exit(DIRTY_EXIT_INTERNAL);
}

void dirty_spawner_watch(void) {
    if (spawner.fd < 0)
        return;
    fcntl(spawner.fd, F_SETFL, O_NONBLOCK);
    signal(SIGIO, SIG_DFL);
}

void dirty_spawner_poll(struct pollfd *fds) {
    fds[0] = (struct pollfd){.fd = spawner.fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = spawner.pid_fd, .events = POLLIN};
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

bool dirty_spawner_is_gone(const struct pollfd *fds) {
    bool gone = fds[1].revents != 0 || (fds[0].revents != 0 && has_ended());
    if (gone) {
        close_fd(&spawner.fd);
        close_fd(&spawner.pid_fd);
    }
    return gone;
}

/* -- Life cycle ---------------------------------------------------------------------- */

void dirty_spawner_open(void) {
    const char *pid = getenv(DIRTY_LIFELINE_ENV);
    int type;
    socklen_t len = sizeof type;
    if (pid == NULL)
        return;
    pid_t spawner_pid = (pid_t)strtol(pid, NULL, 10);
    unsetenv(DIRTY_LIFELINE_ENV);
    if (spawner_pid <= 0 ||
        getsockopt(DIRTY_LIFELINE_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return;
    fcntl(DIRTY_LIFELINE_FD, F_SETFD, FD_CLOEXEC);
    spawner.fd = DIRTY_LIFELINE_FD;
    spawner.pid_fd = (int)syscall(SYS_pidfd_open, spawner_pid, 0);
    if (spawner.pid_fd < 0 && errno == ESRCH)
        _exit(DIRTY_EXIT_INTERNAL);
    spawner.speaks = spawner.first = getpid();
    end_with_spawner();
    copy_stderr();
    dirty_log_tap(say_error);
}

void dirty_spawner_succeed(int channel) {
    spawner.fd = channel;
    spawner.precedes = true;
    spawner.speaks = spawner.first = getpid();
    tell(DIRTY_REPORT_HELLO, DIRTY_HANDOVER_PROTOCOL, DIRTY_VERSION,
         strlen(DIRTY_VERSION));
    copy_stderr();
    dirty_log_tap(say_error);
}

bool dirty_spawner_exists(void) {
    return spawner.fd >= 0 && !spawner.precedes;
}

int dirty_spawner_hear(void) {
    dirty_report r;
    int rc = spawner.fd < 0 ? -1 : dirty_report_take(spawner.fd, &r);
    if (rc < 0)
        close_fd(&spawner.fd);
    return rc > 0 ? (int)r.kind : rc;
}

void dirty_spawner_taken(void) {
    tell(DIRTY_REPORT_TAKEN, 0, "", 0);
}

void dirty_spawner_ready(const char *socket) {
    char path[DIRTY_REPORT_TEXT_SIZE], dir[PATH_MAX];
    if (spawner.ready)
        return;
    spawner.ready = true;
    /* Make the path absolute: the spawner may be in another directory. */
    bool relative = socket[0] != '/' && getcwd(dir, sizeof dir) != NULL;
    int len = snprintf(path, sizeof path, "%s%s%s", relative ? dir : "",
                       relative ? "/" : "", socket);
    tell(DIRTY_REPORT_READY, 0, path, len < (int)sizeof path ? (size_t)len : 0);
}

void dirty_spawner_end(int status) {
    if (spawner.first == getpid())
        tell(DIRTY_REPORT_ENDED, (uint32_t)status, "", 0);
}

void dirty_spawner_inherit(int report_fd) {
    close_fd(&spawner.pid_fd);
    if (spawner.fd < 0)
        return;
    close_fd(&spawner.fd);
    spawner.fd = report_fd;
    spawner.speaks = getpid();
}

void dirty_spawner_pass_on(const char *text) {
    say(text, strlen(text));
}
