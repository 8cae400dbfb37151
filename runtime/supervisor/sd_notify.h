/* sd_notify: reports the service's state to systemd, by datagrams to $NOTIFY_SOCKET, see
 * sd_notify(3). Without that variable every call is a no-op.
 *
 * Nothing here blocks. If the receiver's buffer is full, messages are kept and sent in
 * order when there is room: a start or a stop must not be lost because the receiver is
 * slow. If there are too many, the oldest are dropped. */
#ifndef DIRTY_SUPERVISOR_SD_NOTIFY_H
#define DIRTY_SUPERVISOR_SD_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#define DIRTY_SD_NOTIFY_TEXT_SIZE 1500
#define DIRTY_SD_NOTIFY_KEPT_MAX 16

typedef struct dirty_sd_notify {
    int fd; /* -1: nobody to notify */
    struct sockaddr_un address;
    uint32_t address_len;
    uint32_t watchdog_ms; /* interval of WATCHDOG=1, half of WATCHDOG_USEC; 0: never */
    bool muted;           /* the service manager listens to another process */
    bool in_trouble;      /* the last message failed and that was logged */
    uint64_t again_at_ns; /* when to call dirty_sd_notify_again; 0: nothing is kept */
    unsigned first, count, lost;
    char kept[DIRTY_SD_NOTIFY_KEPT_MAX]
             [DIRTY_SD_NOTIFY_TEXT_SIZE]; /* a ring that starts at `first` */
} dirty_sd_notify;

/* Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and remove them from the
 * environment, which apps inherit. Logs values that can't be used. */
void dirty_sd_notify_open(dirty_sd_notify *n);

/* Close the descriptor. Kept messages are lost. */
void dirty_sd_notify_close(dirty_sd_notify *n);

/* Send assignments, one per line: "READY=1\nSTATUS=serves". They are sent now, or as soon
 * as there is room. Of errors in a row only the first is logged. */
void dirty_sd_notify_send(dirty_sd_notify *n, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Send WATCHDOG=1 if there is room now. It is never kept, because it means nothing
 * later. */
void dirty_sd_notify_beat(dirty_sd_notify *n);

/* Send kept messages, if it is time and there is room. */
void dirty_sd_notify_again(dirty_sd_notify *n);

#endif
