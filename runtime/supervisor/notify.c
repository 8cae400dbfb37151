#include "supervisor/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/log.h"

/* 0 or -errno. A path that begins with @ is an abstract socket's name. */
static int set_address(dirty_notify *n, const char *path) {
    size_t len = strlen(path);
    if (path[0] != '/' && path[0] != '@')
        return -EAFNOSUPPORT; /* vsock:… of virtual machines */
    if (len < 2 || len >= sizeof n->address.sun_path)
        return -ENAMETOOLONG;
    n->address.sun_family = AF_UNIX;
    memcpy(n->address.sun_path, path, len);
    n->address_len = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (path[0] == '@')
        n->address.sun_path[0] = '\0';
    else
        n->address_len++; /* the NUL */
    return 0;
}

static int open_socket(dirty_notify *n) {
    const struct timeval second = {.tv_sec = 1};
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (n->fd < 0)
        return -errno;
    setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
    return 0;
}

/* WATCHDOG_PID names another process where a shell that was started for us passes the
 * variables on. */
static uint32_t watchdog_ms(void) {
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && strtoll(pid, NULL, 10) != getpid()))
        return 0;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(usec, &end, 10);
    if (errno != 0 || *end != '\0' || value == 0) {
        dirty_log(DIRTY_LOG_WARN, "no watchdog: the variable is no number",
                  "WATCHDOG_USEC=%s", DIRTY_LOG_QUOTE(usec));
        return 0;
    }
    unsigned long long half_ms = value / 2000;
    return half_ms == 0 ? 1 : half_ms > INT32_MAX ? INT32_MAX : (uint32_t)half_ms;
}

void dirty_notify_open(dirty_notify *n) {
    const char *path = getenv("NOTIFY_SOCKET");
    *n = (dirty_notify){.fd = -1};
    if (path != NULL && path[0] != '\0') {
        int rc = set_address(n, path);
        if (rc == 0)
            rc = open_socket(n);
        if (rc == 0)
            n->watchdog_ms = watchdog_ms();
        else
            dirty_log(DIRTY_LOG_WARN, "can't tell the service manager how we do",
                      "NOTIFY_SOCKET=%s reason=%s", DIRTY_LOG_QUOTE(path),
                      DIRTY_LOG_QUOTE(strerror(-rc)));
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void dirty_notify_close(dirty_notify *n) {
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

void dirty_notify_send(dirty_notify *n, const char *format, ...) {
    char text[1500];
    if (n->fd < 0)
        return;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len >= (int)sizeof text)
        len = (int)sizeof text - 1;
    ssize_t rc;
    do
        rc = sendto(n->fd, text, (size_t)len, MSG_NOSIGNAL,
                    (const struct sockaddr *)&n->address, n->address_len);
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        dirty_log(DIRTY_LOG_WARN, "the service manager can't be told", "reason=%s",
                  DIRTY_LOG_QUOTE(strerror(errno)));
}
