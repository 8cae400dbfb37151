/* notify: tell systemd how the service does, by datagrams to $NOTIFY_SOCKET as
 * sd_notify(3) describes them. Without that variable every call does nothing.
 *
 * Nothing here waits. Where the listener's buffer is full a message is kept, in order,
 * and sent when there is room: a start or a stop must not be lost because the listener
 * was slow. Of too many the oldest go. */
#ifndef DIRTY_SUPERVISOR_SD_NOTIFY_H
#define DIRTY_SUPERVISOR_SD_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#define DIRTY_SD_NOTIFY_TEXT_SIZE 1500
#define DIRTY_SD_NOTIFY_KEPT_MAX 16

typedef struct dirty_sd_notify {
    int fd; /* -1: nobody listens */
    struct sockaddr_un address;
    uint32_t address_len;
    uint32_t
        watchdog_ms; /* how often WATCHDOG=1 is due: half of WATCHDOG_USEC. 0: never */
    bool in_trouble; /* the last message could not be sent, which has been logged */
    uint64_t again_at_ns; /* when to call dirty_sd_notify_again, 0: nothing is kept */
    unsigned first, count, lost;
    char kept[DIRTY_SD_NOTIFY_KEPT_MAX]
             [DIRTY_SD_NOTIFY_TEXT_SIZE]; /* a ring, from `first` */
} dirty_sd_notify;

/* Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and take them out of the
 * environment, which apps inherit. What can't be used is said in the log. */
void dirty_sd_notify_open(dirty_sd_notify *n);

/* Close the descriptor. What is kept is lost. */
void dirty_sd_notify_close(dirty_sd_notify *n);

/* Send assignments, each on a line of its own: "READY=1\nSTATUS=serves", now or as soon
 * as there is room. The first of errors in a row is logged. */
void dirty_sd_notify_send(dirty_sd_notify *n, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Send WATCHDOG=1 if there is room now: it would say nothing later. */
void dirty_sd_notify_beat(dirty_sd_notify *n);

/* Send what is kept, if the moment has come and there is room. */
void dirty_sd_notify_again(dirty_sd_notify *n);

#endif
