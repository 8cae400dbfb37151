/* upgrade: starts the program that is at our path now, and lets it take our place.
 *
 *   NONE ──upgrade_begin──► STARTING ──READY──► HANDING_OVER ──TAKEN──► DONE
 *     ▲                        │                     │
 *     └──────── it failed, or its time is over ──────┘
 *
 * Until DONE we serve as if nothing had happened. After DONE our arbiter departs, and we
 * end when it has. The supervisor never waits for its successor. The messages are in
 * base/handover.h. */
#ifndef DIRTY_SUPERVISOR_UPGRADE_H
#define DIRTY_SUPERVISOR_UPGRADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct supervisor;

typedef enum upgrade_state {
    UPGRADE_NONE,
    UPGRADE_STARTING,
    UPGRADE_HANDING_OVER,
    UPGRADE_DONE
} upgrade_state;

typedef struct upgrade {
    upgrade_state state;
    pid_t pid;          /* of the successor, 0: none; it may outlive a failed upgrade */
    int fd;             /* our end of the channel; -1: closed */
    uint64_t end_at_ns; /* when to give up; 0: never */
    uint32_t number;    /* upgrades so far */
    char to[32];        /* version of the successor, "": not known */
    char said[600];     /* its errors */
    size_t said_len;
    bool pidfile_lost; /* ours must be written again */
    bool told;         /* the arbiter knows the state */

    /* the last one that has ended: */
    uint32_t last_number; /* 0: none */
    bool last_done;
    char last_from[32], last_to[32], last_reason[320];
    double last_at; /* seconds since 1970 */
} upgrade;

/* Initialize. After we have succeeded another supervisor, the last upgrade is its. */
void upgrade_init(struct supervisor *s);

/* Start a successor. `limit_ms` is the time until it must be ready, 0: as for a start of
 * ours. Failures are logged and kept for the status. */
void upgrade_begin(struct supervisor *s, uint32_t limit_ms);

/* Read the successor's messages. */
void upgrade_read(struct supervisor *s);

/* Call this for a child that was reaped. Returns whether it was the successor. */
bool upgrade_reaped(struct supervisor *s, pid_t pid, int wait_status);

/* Give up if it is time. */
void upgrade_check(struct supervisor *s);

/* Give up, for instance because we were told to stop. No-op if none runs. */
void upgrade_cancel(struct supervisor *s, const char *reason);

/* Whether a successor is being started. */
bool upgrade_runs(const struct supervisor *s);

/* Tell the arbiter the state, if it doesn't know it. */
void upgrade_tell(struct supervisor *s);

#endif
