/* supervisor: the process that `dirty serve` is. It holds the listening socket, so that
 * the path stays while arbiters come and go, and keeps one arbiter running under it.
 *
 *   supervisor ── keeper ── arbiter ── worker 1 … N
 *
 *   STARTING ──the first arbiter serves──► SERVING ──told to stop──► STOPPING ──► end
 *       └── it ends before: so do we ──────────┴── it dies: the next one is started
 *
 * Before a new arbiter is started everything the old one left is killed and reaped, what
 * apps started included (subreaper.h). One thread, no event loop, no Lua of its own. */
#ifndef DIRTY_SUPERVISOR_H
#define DIRTY_SUPERVISOR_H

#include <stdint.h>
#include <sys/types.h>

#include "base/endpoint.h"
#include "base/exit_status.h"
#include "supervisor/credentials.h"

/* Everything borrowed until dirty_supervisor_run returns. */
typedef struct dirty_supervisor_options {
    dirty_endpoint_options socket;
    const char *pidfile;       /* NULL: none. Holds our pid once an arbiter serves */
    uint32_t start_timeout_ms; /* from the start of an arbiter until its loop runs */
    uint32_t hang_ms; /* one that serves and says nothing for so long hangs; 0: never */
    void (*set_title)(const char *title); /* of the process, in ps */
} dirty_supervisor_options;

/* What a new process knows that is to become an arbiter. */
typedef struct dirty_supervised {
    int listen_fd; /* the listening socket */
    int socket_fd; /* its file, by O_PATH: its mode and owner may be changed by it */
    int report_fd; /* where base/report.h's messages go */
    pid_t supervisor_pid;
    pid_t parent_pid;   /* whose death is ours: the keeper's */
    uint32_t restarts;  /* how many arbiters there were before */
    uint32_t report_ms; /* how often it has to say ALIVE, 0: never */
    uint32_t hangs;     /* how many of those before had to be killed */
    char last_exit[96]; /* how the one before ended, "" for the first */
} dirty_supervised;

/* The return value of dirty_supervisor_run in a process that is to become an arbiter. */
#define DIRTY_SUPERVISED (-1)

/* Take the socket and supervise. Returns a dirty_exit_status at the end, and
 * DIRTY_SUPERVISED with *out in every arbiter's process, as fork does: with default
 * signals, in a process group of its own, killed when its parent ends. Logs by base/log.
 * TERM and INT stop gracefully, a second one and QUIT at once; HUP, USR1, TTIN and TTOU
 * go to the arbiter. Call once per process, before any thread is started. */
int dirty_supervisor_run(const dirty_supervisor_options *o, dirty_supervised *out);

/* In an arbiter's process: give up what it may not have, then make sure that it ends with
 * its parent. 0 or -errno, said in the log: the process must end then. */
int dirty_supervised_settle(const dirty_supervised *child,
                            const dirty_credentials *credentials);

#endif
