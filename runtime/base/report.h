/* report: messages between arbiter and supervisor, from a runtime to its spawner
 * (base/lifeline.h), and between a supervisor and its successor (base/handover.h). One
 * report is one message on a SOCK_SEQPACKET socket. The sender never blocks: a message
 * that does not fit the socket's buffer is lost. */
#ifndef DIRTY_REPORT_H
#define DIRTY_REPORT_H

#include <stddef.h>
#include <stdint.h>

typedef enum dirty_report_kind {
    DIRTY_REPORT_STARTED = 1, /* its loop runs and its signal handlers are set; READY or a
                                 failure follows within within_ms */
    DIRTY_REPORT_READY,       /* it serves; text: fields for the log line "ready" */
    DIRTY_REPORT_RELOADING,   /* a reload begins */
    DIRTY_REPORT_RELOADED,    /* the reload has ended; text: the result, for people */
    DIRTY_REPORT_STOPPING,    /* it is stopping and ends within within_ms */
    DIRTY_REPORT_REOPEN,      /* it was asked to reopen the log: all processes shall */
    DIRTY_REPORT_ALIVE,       /* heartbeat: its loop turns */
    DIRTY_REPORT_SAID,        /* text: a piece of its output while it starts */
    DIRTY_REPORT_ENDED,       /* it ends with the exit status within_ms */
    DIRTY_REPORT_LISTENS,     /* the answer to SOCKET */
    DIRTY_REPORT_LEVEL,       /* a reload has changed the log's level; text: its name */
    DIRTY_REPORT_UPGRADE,     /* it was asked for an upgrade; within_ms: its limit, 0: the
                                 supervisor's */

    /* From the supervisor: */
    DIRTY_REPORT_SOCKET, /* text: what is wrong with the socket's files; "": nothing.
                            within_ms 1: two descriptors come with it, the socket to
                            listen at from now on and its file (O_PATH). Repeated until
                            LISTENS answers it */
    DIRTY_REPORT_LOG,    /* it has reopened the log; text: the error, "": none */
    DIRTY_REPORT_ACCEPT, /* accept connections from now on: until then another runtime
                            does */
    DIRTY_REPORT_DEPART, /* another runtime accepts: finish what was accepted, and end */
    DIRTY_REPORT_UPGRADES, /* the state of upgrades. text: JSON for the status. within_ms:
                             a dirty_upgrades, and DIRTY_UPGRADES_NUMBER times the number
                             of upgrades so far */

    /* Between a supervisor and its successor (base/handover.h): */
    DIRTY_REPORT_HELLO = 100,
    DIRTY_REPORT_GO,
    DIRTY_REPORT_TAKEN
} dirty_report_kind;

/* May the arbiter ask for an upgrade? */
typedef enum dirty_upgrades {
    DIRTY_UPGRADES_OFF,  /* no: the supervisor can't */
    DIRTY_UPGRADES_FREE, /* yes */
    DIRTY_UPGRADES_BUSY  /* no: one is running */
} dirty_upgrades;
#define DIRTY_UPGRADES_NUMBER 4

#define DIRTY_REPORT_TEXT_SIZE 1024

typedef struct dirty_report {
    uint32_t kind; /* a dirty_report_kind */
    int32_t pid;   /* of the sender */
    uint32_t within_ms;
    char text[DIRTY_REPORT_TEXT_SIZE]; /* NUL-terminated; the NUL is not sent */
} dirty_report;

/* Send `r` and fill in its pid. Never blocks. Returns 0 or -errno. */
int dirty_report_send(int fd, dirty_report *r);

/* Same, with `count` descriptors. The caller keeps them. */
int dirty_report_send_with(int fd, dirty_report *r, const int *passed, size_t count);
#define DIRTY_REPORT_PASSED 2 /* maximum */

/* Receive the next message without blocking. Returns 1 with *out set, 0 if there is none,
 * -1 if the sender is gone or the message is no report. */
int dirty_report_take(int fd, dirty_report *out);

/* Same, with the descriptors that came with the message. The caller owns them. The other
 * entries of `passed` are -1. */
int dirty_report_take_with(int fd, dirty_report *out, int passed[DIRTY_REPORT_PASSED]);

#endif
