/* supervisor: the process of `dirty serve`. It holds the listening socket, so that the
 * path stays the same when arbiters are replaced, and keeps one arbiter running.
 *
 *   supervisor ── subreaper ── arbiter ── worker 1 … N
 *
 *   STARTING ──the first arbiter serves──► SERVING ──told to stop──► STOPPING ──► end
 *       └── it ends first: so do we ───────────┴── it dies: the next one is started
 *
 * Before it starts a new arbiter it kills and reaps everything the old one left,
 * including what apps started (subreaper.h). One thread, no event loop, no Lua of its
 * own. */
#ifndef DIRTY_SUPERVISOR_H
#define DIRTY_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/endpoint.h"
#include "base/exit_status.h"
#include "supervisor/credentials.h"

/* Everything is borrowed until dirty_supervisor_run returns. */
typedef struct dirty_supervisor_options {
    dirty_endpoint_options socket;
    const char *pidfile;       /* NULL: none; has our pid once an arbiter serves */
    uint32_t start_timeout_ms; /* limit from an arbiter's start until its loop runs */
    uint32_t hang_ms;          /* limit for a serving arbiter without reports; 0: none */
    void (*set_title)(const char *title); /* of the process, in ps */
} dirty_supervisor_options;

/* Parameters of a new process that is to become an arbiter. */
typedef struct dirty_supervised {
    int listen_fd; /* the listening socket */
    int socket_fd; /* the socket's file (O_PATH), to change its mode and owner */
    int report_fd; /* descriptor for messages of base/report.h */
    pid_t supervisor_pid;
    pid_t parent_pid;   /* of the subreaper; the arbiter ends when it does */
    uint32_t restarts;  /* number of arbiters before this one */
    uint32_t report_ms; /* interval of its ALIVE reports; 0: never */
    uint32_t hangs;     /* how many of the earlier ones were killed as hung */
    bool waits;         /* it must not accept until it gets ACCEPT */
    bool lent;          /* the socket's mode and owner are not ours to set */
    char last_exit[96]; /* how the one before ended; "": it is the first */
} dirty_supervised;

/* Return value of dirty_supervisor_run in a process that is to become an arbiter. */
#define DIRTY_SUPERVISED (-1)

/* Take the socket and supervise. Returns more than once, like fork: a dirty_exit_status
 * at the end, and DIRTY_SUPERVISED with *out set in every arbiter's process. That process
 * has default signals and its own process group, and is killed when its parent ends. Logs
 * through base/log. TERM and INT stop gracefully; a second one, or QUIT, stops at once;
 * HUP, USR1, TTIN and TTOU go to the arbiter; USR2 starts an upgrade (upgrade.h). Call it
 * once per process, before any thread is started. */
int dirty_supervisor_run(const dirty_supervisor_options *o, dirty_supervised *out);

/* Call this in an arbiter's process: drop the privileges it may not have, then make sure
 * that it ends with its parent. Returns 0 or -errno, which is logged; after an error the
 * process must end. */
int dirty_supervised_settle(const dirty_supervised *child,
                            const dirty_credentials *credentials);

#endif
