/* arbiter: the dispatcher of the runtime, one process with one event loop.
 *
 * It owns the listening socket, a connection per client connection, a queue per app and
 * the worker processes. It reads the first bytes of a request, picks a lane and passes
 * those bytes and the client's descriptor on; payloads and answers never enter it
 * (docs/design.md). It runs no app code and no Lua but the configuration's. */
#ifndef DIRTY_ARBITER_H
#define DIRTY_ARBITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/exit_status.h"
#include "base/worker_start.h"

/* What hooks are told of a worker. */
typedef struct dirty_worker_info {
    uint32_t number;     /* its slot, 1.. */
    uint32_t generation; /* how often the slot was filled */
    pid_t pid;
    uint32_t app_count;
    const dirty_app_spec *const *apps; /* borrowed for the call */
} dirty_worker_info;

/* The configuration's hooks; a NULL function is skipped. They must not raise or longjmp;
 * on_starting runs in the arbiter, post_fork and worker_init in the worker, worker_exit
 * in a child of the arbiter. */
typedef struct dirty_hooks {
    void *ctx;
    void (*on_starting)(void *ctx, pid_t arbiter_pid);
    void (*post_fork)(void *ctx, const dirty_worker_info *worker);
    void (*worker_init)(void *ctx, const dirty_worker_start *start);
    void (*worker_exit)(void *ctx, const dirty_worker_info *worker, int wait_status);
} dirty_hooks;

struct dirty_arbiter_options;

/* Where a new configuration comes from, for a reload. All NULL: there is none. One reload
 * is under way at a time: probe in a child of the arbiter, then finish. */
typedef struct dirty_config_source {
    void *ctx;
    /* In a forked child: read the configuration again, or take the one that holds
     * (`same`), and write of it to `report_fd`, then load its apps and write what came of
     * that. Returns the exit status. */
    int (*probe)(void *ctx, bool same, int report_fd);
    /* Make options of that report. Must not take long. 0 with *out, which stays valid
     * until it is released, and in `why` what of the configuration can't be taken over
     * ("": nothing); or -1 with the reason in `why`. */
    int (*finish)(void *ctx, const char *report, size_t len,
                  const struct dirty_arbiter_options **out, char *why, size_t why_size);
    /* The options that finish gave are not used any more. */
    void (*release)(void *ctx, const struct dirty_arbiter_options *options);
} dirty_config_source;

#define DIRTY_WORKERS_MAX 4096
#define DIRTY_THREADS_MAX 64

/* Everything borrowed until dirty_arbiter_run returns. Units in the names. */
typedef struct dirty_arbiter_options {
    const char *socket_path; /* at most 107 bytes: checked by the caller */
    uint32_t socket_mode;    /* permission bits, 0600 */
    int64_t socket_uid;      /* -1: leave */
    int64_t socket_gid;      /* -1: leave */
    /* Who may change things over the socket; NULL: root and the socket's owner. */
    const uid_t *admin_uids;
    uint32_t admin_count; /* 0 with a list: nobody */
    uint32_t backlog;     /* of listen(2) */
    uint32_t workers;     /* 1..DIRTY_WORKERS_MAX */
    uint32_t threads;     /* lanes per worker, 1..DIRTY_THREADS_MAX */
    uint32_t max_queue;   /* requests that may wait, over all apps */
    uint32_t graceful_timeout_ms;
    uint32_t timeout_grace_ms; /* from an interrupt to the kill */
    uint32_t boot_timeout_ms;
    uint32_t recv_timeout_ms;       /* total, for a started request; 0: none */
    uint32_t max_requests;          /* a worker is replaced after so many, 0: never */
    uint32_t max_requests_jitter;   /* up to so many more, by chance */
    uint64_t max_rss_bytes;         /* a worker is replaced when it is larger, 0: never */
    uint64_t max_memory_bytes;      /* of a lane's Lua heap, 0: no limit */
    uint32_t slow_log_threshold_ms; /* calls that take this long are logged, 0: none */
    bool allow_stack;               /* tracebacks of running calls may be asked for */
    uint32_t linger_timeout_ms; /* how long input of an ended connection is discarded */
    dirty_wire_limits limits;
    uint32_t app_count;
    const dirty_app_spec *apps;
    const char *lua_path, *lua_cpath; /* of the lanes */
    /* Where workers run: the path, and where that is gone its name, by way of symlinks;
     * NULL: where the arbiter does. */
    const char *directory, *directory_name;
    const char *system_root;  /* before the paths of /proc and /sys where the OOM killer's
                                 count is; NULL but in tests */
    const char *version_json; /* a JSON object for status: versions of all parts */
    dirty_hooks hooks;
    dirty_config_source source;
    /* From the supervisor. Without one all are 0: the arbiter opens the socket itself. */
    int socket_fd;         /* O_PATH: the file of the socket, 0: it is our own */
    int listen_fd;         /* listening at socket_path; its name is not ours to remove */
    int report_fd;         /* where base/report.h's messages go */
    uint32_t report_ms;    /* how often to say ALIVE, 0: never */
    pid_t supervisor_pid;  /* for status, as the two below */
    uint32_t restarts;     /* arbiters there were before */
    uint32_t hangs;        /* those of them that hung and were killed */
    const char *last_exit; /* how the one before ended, "" for the first */
    const char *log_file;  /* for status: the log's path; NULL: stderr */
    /* The body of a worker process: dirty_worker_main of runtime/worker. Returns the exit
     * status. */
    int (*worker_main)(const dirty_worker_start *start);
} dirty_arbiter_options;

/* Listen, start the workers, serve until a signal says stop, end all of it. Logs by
 * base/log. TERM and INT stop gracefully, QUIT at once, USR1 reopens the log file.
 * Returns a dirty_exit_status. Call once per process, before any thread is started. */
int dirty_arbiter_run(const dirty_arbiter_options *options);

#endif
