/* worker_start: all parameters of a worker process.
 *
 * The arbiter fills it before the fork and owns every pointer in it. The worker process
 * inherits the memory and only reads it. */
#ifndef DIRTY_WORKER_START_H
#define DIRTY_WORKER_START_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/baton.h"
#include "base/board.h"
#include "base/call_counts.h"

/* One dirty app of the configuration. The configuration owns the strings, and they
 * outlive the runtime. */
typedef struct dirty_app_spec {
    const char *name;   /* the name in calls: "apps.image", "apps.ml:Model", "images" */
    const char *module; /* argument of require */
    const char
        *object; /* field of the module's table that is the app; NULL: the module */
    const char *options;       /* JSON text of the argument of init(options) */
    uint32_t timeout_ms;       /* limit of this app's calls; 0: none */
    uint32_t max_queue;        /* maximum number of queued requests for this app */
    uint32_t workers;          /* number of workers that host it; 0: all */
    bool interruptible;        /* a running call can be ended without ending the worker */
    bool cancel_on_disconnect; /* interrupt a call when its caller disconnects */
    bool exclusive;    /* never exceed `workers`, even briefly: stop the old worker before
                          starting the new */
    bool isolated;     /* its workers serve no shared connections */
    const char *fault; /* why it can't be loaded, if that is known; NULL: it can */
} dirty_app_spec;

/* Limits of the wire, the same in arbiter and lane. */
typedef struct dirty_wire_limits {
    uint32_t max_message;     /* payload bytes, in both directions */
    uint32_t max_args;        /* values in a request or response */
    uint32_t max_depth;       /* nesting of JSON */
    uint32_t send_timeout_ms; /* how long to wait for a caller that does not read */
} dirty_wire_limits;

/* What a lane needs to serve shared connections. All is inherited by the fork. */
typedef struct dirty_sharing {
    dirty_board *board;  /* NULL: the worker serves none */
    uint32_t slot_count; /* words of the board: what is in shared memory is not trusted */
    int epoll;           /* all shared connections; lanes only wait in it */
    int bell;            /* an eventfd that wakes the arbiter */
    uint32_t lane_id;    /* its owner on the board is DIRTY_BOARD_LANE + lane_id */
    uint32_t arbiter_timeout_ms; /* don't serve them while the arbiter is silent longer */
} dirty_sharing;

typedef struct dirty_worker_start {
    uint32_t number;     /* of the worker's slot, from 1; its replacement has the same */
    uint32_t generation; /* counts the workers started in this slot */
    pid_t arbiter_pid;   /* checked against getppid() after PR_SET_PDEATHSIG */
    uint32_t lane_count;
    const int *channels;           /* lane_count descriptors: the lanes' ends, blocking */
    dirty_lane_page *const *pages; /* lane_count */
    dirty_call_counts *const *counts; /* lane_count: shared with the arbiter */
    dirty_sharing sharing;
    uint32_t slow_log_threshold_ms; /* calls that take this long are logged, 0: none */
    bool log_failures; /* every call that fails is logged, with its traceback */
    bool access_log;   /* every call is logged */
    uint32_t app_count;
    const dirty_app_spec *const *apps; /* app_count; DISPATCH.app indexes it */
    dirty_wire_limits limits;
    uint64_t max_memory_bytes; /* limit of a lane's Lua heap; 0: none */
    uint32_t patience_ms;      /* how long a lane waits for the bytes of a long request */
    const char *lua_path;      /* package.path of the lanes */
    const char *lua_cpath;     /* package.cpath */
    /* Hook of the configuration, run in the worker's main thread; may be NULL. hook_ctx
     * is its first argument. */
    void *hook_ctx;
    void (*worker_init)(void *hook_ctx, const struct dirty_worker_start *start);
} dirty_worker_start;

#endif
