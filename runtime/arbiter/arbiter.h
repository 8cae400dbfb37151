/* arbiter: the dispatcher of the runtime, one process with one event loop.
 *
 * It owns the listening socket, the client connections, a queue per app and the worker
 * processes. It reads the first bytes of a request, picks a lane, and passes these
 * bytes and the client's descriptor to it. Long payloads and answers of apps never
 * enter the arbiter (docs/design.md). It runs no app code, and no Lua except the
 * configuration's. */
#ifndef DIRTY_ARBITER_H
#define DIRTY_ARBITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/exit_status.h"
#include "base/worker_start.h"

/* What hooks are told about a worker. */
typedef struct dirty_worker_info {
    uint32_t number;     /* its slot, from 1 */
    uint32_t generation; /* how often the slot was filled */
    pid_t pid;
    uint32_t app_count;
    const dirty_app_spec *const *apps; /* borrowed for the call */
} dirty_worker_info;

/* The configuration's hooks. A NULL function is skipped. Hooks must not raise or
 * longjmp. on_starting runs in the arbiter, post_fork and worker_init in the worker,
 * worker_exit in a child of the arbiter. */
typedef struct dirty_hooks {
    void *ctx;
    void (*on_starting)(void *ctx, pid_t arbiter_pid);
    void (*post_fork)(void *ctx, const dirty_worker_info *worker);
    void (*worker_init)(void *ctx, const dirty_worker_start *start);
    void (*worker_exit)(void *ctx, const dirty_worker_info *worker, int wait_status);
} dirty_hooks;

struct dirty_arbiter_options;

/* Source of new configurations for reloads. All NULL: there is none. Only one reload
 * runs at a time: first probe in a child of the arbiter, then finish. */
typedef struct dirty_config_source {
    void *ctx;
    /* Runs in a forked child: read the configuration again, or use the current one
     * (`same`). Write a report on it to `report_fd`, load its apps, and write the
     * result. Returns the exit status. */
    int (*probe)(void *ctx, bool same, int report_fd);
    /* Make options from the report. Must not take long. Returns 0 with *out, valid
     * until release, and in `why` what can't be applied ("": nothing). On failure
     * returns -1 with the reason in `why`. */
    int (*finish)(void *ctx, const char *report, size_t len,
                  const struct dirty_arbiter_options **out, char *why, size_t why_size);
    /* Release options from finish that are no longer used. */
    void (*release)(void *ctx, const struct dirty_arbiter_options *options);
} dirty_config_source;

#define DIRTY_WORKERS_MAX 4096
#define DIRTY_THREADS_MAX 64

/* Everything is borrowed until dirty_arbiter_run returns. Names contain the units. */
typedef struct dirty_arbiter_options {
    const char *socket_path; /* at most 107 bytes: checked by the caller */
    uint32_t socket_mode;    /* permission bits, 0600 */
    int64_t socket_uid;      /* -1: leave */
    int64_t socket_gid;      /* -1: leave */
    /* Users who may change things over the socket; NULL: root and the socket's
     * owner. */
    const uid_t *admin_uids;
    uint32_t admin_count; /* 0 with a list: nobody */
    uint32_t backlog;     /* backlog of listen(2) */
    uint32_t workers;     /* 1..DIRTY_WORKERS_MAX */
    uint32_t threads;     /* lanes per worker, 1..DIRTY_THREADS_MAX */
    uint32_t max_queue;   /* limit of waiting requests of all apps */
    uint32_t graceful_timeout_ms;
    uint32_t timeout_grace_ms; /* time from an interrupt to the kill */
    uint32_t boot_timeout_ms;
    uint32_t recv_timeout_ms; /* total time to receive a started request; 0: no limit */
    uint32_t max_requests; /* a worker is replaced after this many requests, 0: never */
    uint32_t max_requests_jitter; /* random addition to max_requests, at most this many */
    uint64_t max_rss_bytes;       /* a larger worker is replaced, 0: never */
    uint64_t max_memory_bytes;    /* limit of a lane's Lua heap, 0: no limit */
    uint32_t slow_log_threshold_ms; /* calls that take this long are logged, 0: none */
    bool access_log;                /* every call is logged */
    const char *log_level;          /* of base/log.h; NULL: as it is */
    bool fast_path;                 /* lanes may take requests themselves */
    uint32_t arbiter_timeout_ms;    /* they don't while the arbiter is silent longer, 0:
                                       a default */
    bool dev;         /* for a developer: reload when code is saved, log failed calls */
    bool allow_stack; /* callers may ask for tracebacks of running calls */
    uint32_t linger_timeout_ms; /* how long input of an ended connection is discarded */
    dirty_wire_limits limits;
    uint32_t app_count;
    const dirty_app_spec *apps;
    const char *lua_path, *lua_cpath; /* for the lanes */
    /* Working directory of workers: its path, and its name (by way of symlinks) for
     * when the path is gone. NULL: the arbiter's. */
    const char *directory, *directory_name;
    const char *system_root;  /* prefix of the /proc and /sys paths with the OOM killer's
                                 count; NULL except in tests */
    const char *version_json; /* a JSON object for status: versions of all parts */
    dirty_hooks hooks;
    dirty_config_source source;
    /* From the supervisor. Without one all are 0, and the arbiter opens the socket
     * itself. */
    int socket_fd;         /* O_PATH: the socket's file, 0: the arbiter's own socket */
    int listen_fd;         /* listening at socket_path; don't remove its file here */
    bool waits;            /* accept only when the supervisor says so */
    bool socket_lent;      /* the socket's mode and owner are not ours to set */
    int report_fd;         /* destination of base/report.h's messages */
    uint32_t report_ms;    /* interval of ALIVE messages, 0: never */
    pid_t supervisor_pid;  /* for status, like the next two */
    uint32_t restarts;     /* number of earlier arbiters */
    uint32_t hangs;        /* earlier arbiters that hung and were killed */
    const char *last_exit; /* how the previous one ended, "" for the first */
    const char *log_file;  /* for status: the log's path; NULL: stderr */
    /* The body of a worker process: dirty_worker_main of runtime/worker. Returns the
     * exit status. */
    int (*worker_main)(const dirty_worker_start *start);
} dirty_arbiter_options;

/* Listen, start the workers, serve until a signal stops the runtime, and end
 * everything. Logs through base/log. TERM and INT stop gracefully, QUIT stops at once,
 * USR1 reopens the log file. Returns a dirty_exit_status. Call it once per process,
 * before any thread starts. */
int dirty_arbiter_run(const dirty_arbiter_options *options);

#endif
