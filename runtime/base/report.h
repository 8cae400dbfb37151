/* report: what an arbiter tells its supervisor, the supervisor its arbiter, and a runtime
 * the program that started it (base/lifeline.h), a message each on a SOCK_SEQPACKET
 * socket. Who tells never waits: a message that does not fit the socket's buffer is
 * lost. */
#ifndef DIRTY_REPORT_H
#define DIRTY_REPORT_H

#include <stddef.h>
#include <stdint.h>

typedef enum dirty_report_kind {
    DIRTY_REPORT_STARTED = 1, /* its loop runs: signals have their meaning from now on;
                                 it is READY, or gives up, within within_ms */
    DIRTY_REPORT_READY,       /* it serves; text: fields for the log line "ready" */
    DIRTY_REPORT_RELOADING,   /* a reload begins */
    DIRTY_REPORT_RELOADED,    /* it has ended; text: how, for people */
    DIRTY_REPORT_STOPPING,    /* it ends for good, within within_ms */
    DIRTY_REPORT_REOPEN,      /* it was asked to open the log again: all shall */
    DIRTY_REPORT_ALIVE,       /* its loop turns */
    DIRTY_REPORT_SAID,        /* text: a piece of what it says while it starts */
    DIRTY_REPORT_ENDED,       /* it ends, with the exit status within_ms */
    DIRTY_REPORT_LISTENS,     /* it has done what SOCKET says */

    /* From the supervisor: */
    DIRTY_REPORT_SOCKET, /* text: what is wrong with the socket's files, "": nothing;
                            within_ms 1: two descriptors come with it, one to listen at
                            from now on, and the file by O_PATH. Said again until it is
                            answered by LISTENS */
    DIRTY_REPORT_LOG     /* it has opened the log again; text: why not, "": it has */
} dirty_report_kind;

#define DIRTY_REPORT_TEXT_SIZE 1024

typedef struct dirty_report {
    uint32_t kind; /* of dirty_report_kind */
    int32_t pid;   /* who sends it */
    uint32_t within_ms;
    char text[DIRTY_REPORT_TEXT_SIZE]; /* NUL-terminated; sent up to the NUL */
} dirty_report;

/* Send it; pid is filled in. Never waits. 0 or -errno. */
int dirty_report_send(int fd, dirty_report *r);

/* … with `count` descriptors, which stay the caller's. */
int dirty_report_send_with(int fd, dirty_report *r, const int *passed, size_t count);
#define DIRTY_REPORT_PASSED 2 /* at the most */

/* Take the next message without waiting. 1 with *out, 0 there is none now, -1 the sender
 * is gone or sends what is no report. */
int dirty_report_take(int fd, dirty_report *out);

/* … with the descriptors that came with it, the caller's from now on; the others of
 * `passed` are -1. */
int dirty_report_take_with(int fd, dirty_report *out, int passed[DIRTY_REPORT_PASSED]);

#endif
