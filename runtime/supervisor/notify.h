/* notify: tell systemd how the service does, by datagrams to $NOTIFY_SOCKET as
 * sd_notify(3) describes them. Without that variable every call does nothing. */
#ifndef DIRTY_SUPERVISOR_NOTIFY_H
#define DIRTY_SUPERVISOR_NOTIFY_H

#include <stdint.h>
#include <sys/un.h>

typedef struct dirty_notify {
    int fd; /* -1: nobody listens */
    struct sockaddr_un address;
    uint32_t address_len;
    uint32_t
        watchdog_ms; /* how often WATCHDOG=1 is due: half of WATCHDOG_USEC. 0: never */
} dirty_notify;

/* Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and take them out of the
 * environment, which apps inherit. What can't be used is said in the log. */
void dirty_notify_open(dirty_notify *n);

/* Close the descriptor. */
void dirty_notify_close(dirty_notify *n);

/* Send assignments, each on a line of its own: "READY=1\nSTATUS=serves". Waits at most a
 * second for room in the listener's buffer. Errors are logged. */
void dirty_notify_send(dirty_notify *n, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
