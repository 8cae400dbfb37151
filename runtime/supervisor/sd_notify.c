#include "supervisor/sd_notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* Delay until a message that did not fit is sent again. */
#define AGAIN_MS 100

/* Returns 0 or -errno. A path that begins with @ is the name of an abstract socket. */
static int set_address(dirty_sd_notify *n, const char *path) {
    size_t len = strlen(path);
    if (path[0] != '/' && path[0] != '@')
        return -EAFNOSUPPORT; /* "vsock:…" of virtual machines */
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

static int open_socket(dirty_sd_notify *n) {
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return n->fd < 0 ? -errno : 0;
}

/* If WATCHDOG_PID names another process, a shell that was started with these variables
 * has passed them on to us: they are not for us. */
static uint32_t watchdog_ms(void) {
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && strtoll(pid, NULL, 10) != getpid()))
        return 0;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(usec, &end, 10);
    if (errno != 0 || *end != '\0' || value == 0) {
        dirty_log(DIRTY_LOG_WARN, "no watchdog: WATCHDOG_USEC is not a number",
                  "WATCHDOG_USEC=%s", DIRTY_LOG_QUOTE(usec));
        return 0;
    }
    unsigned long long half_ms = value / 2000;
    return half_ms == 0 ? 1 : half_ms > INT32_MAX ? INT32_MAX : (uint32_t)half_ms;
}

void dirty_sd_notify_open(dirty_sd_notify *n) {
    const char *path = getenv("NOTIFY_SOCKET");
    *n = (dirty_sd_notify){.fd = -1};
    if (path != NULL && path[0] != '\0') {
        int rc = set_address(n, path);
        if (rc == 0)
            rc = open_socket(n);
        if (rc == 0)
            n->watchdog_ms = watchdog_ms();
        else
            dirty_log(DIRTY_LOG_WARN, "can't send to the service manager",
                      "NOTIFY_SOCKET=%s reason=%s", DIRTY_LOG_QUOTE(path),
                      DIRTY_LOG_QUOTE(strerror(-rc)));
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void dirty_sd_notify_close(dirty_sd_notify *n) {
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

/* -- Sending ------------------------------------------------------------------------ */

static bool is_full(int rc) {
    return rc == -EAGAIN || rc == -EWOULDBLOCK || rc == -ENOBUFS;
}

/* Returns 0 or -errno. */
static int send_now(dirty_sd_notify *n, const char *text) {
    ssize_t rc;
    do
        rc = sendto(n->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
                    (const struct sockaddr *)&n->address, n->address_len);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

/* Log the result of sending, once for equal results in a row. */
static void tell(dirty_sd_notify *n, int rc) {
    if (rc < 0 && !n->in_trouble)
        dirty_log(DIRTY_LOG_WARN,
                  is_full(rc) ? "the service manager does not read: sending later"
                              : "can't send to the service manager",
                  "reason=%s", DIRTY_LOG_QUOTE(strerror(-rc)));
    if (rc == 0 && n->in_trouble && n->count == 0) {
        dirty_log(DIRTY_LOG_INFO, "the service manager reads again", "lost=%u", n->lost);
        n->lost = 0;
    }
    n->in_trouble = rc < 0 || (n->in_trouble && n->count > 0);
}

static void keep(dirty_sd_notify *n, const char *text) {
    if (n->count == DIRTY_SD_NOTIFY_KEPT_MAX) {
        n->first = (n->first + 1) % DIRTY_SD_NOTIFY_KEPT_MAX;
        n->count--;
        n->lost++;
    }
    unsigned at = (n->first + n->count++) % DIRTY_SD_NOTIFY_KEPT_MAX;
    snprintf(n->kept[at], sizeof n->kept[at], "%s", text);
    if (n->again_at_ns == 0)
        n->again_at_ns = dirty_now_ns() + AGAIN_MS * DIRTY_NS_PER_MS;
}

void dirty_sd_notify_again(dirty_sd_notify *n) {
    uint64_t now_ns = dirty_now_ns();
    if (n->count == 0 || now_ns < n->again_at_ns)
        return;
    while (n->count > 0) {
        int rc = send_now(n, n->kept[n->first]);
        if (is_full(rc)) {
            n->again_at_ns = now_ns + AGAIN_MS * DIRTY_NS_PER_MS;
            return;
        }
        n->first = (n->first + 1) % DIRTY_SD_NOTIFY_KEPT_MAX;
        n->count--;
        tell(n, rc);
    }
    n->again_at_ns = 0;
}

void dirty_sd_notify_send(dirty_sd_notify *n, const char *format, ...) {
    char text[DIRTY_SD_NOTIFY_TEXT_SIZE];
    if (n->fd < 0 || n->muted)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    int rc = n->count > 0 ? -EAGAIN : send_now(n, text); /* kept messages go first */
    if (is_full(rc))
        keep(n, text);
    tell(n, rc);
}

void dirty_sd_notify_beat(dirty_sd_notify *n) {
    if (n->fd < 0 || n->muted || n->count > 0)
        return;
    tell(n, send_now(n, "WATCHDOG=1"));
}
