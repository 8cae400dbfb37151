/* worker_start: all that a worker process is told, at the fork that makes it.
 *
 * The arbiter fills it and owns every pointer in it; the worker process has them by
 * inheritance and only reads. */
#ifndef DIRTY_WORKER_START_H
#define DIRTY_WORKER_START_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/baton.h"

/* One dirty app as the configuration gives it. Strings are owned by the configuration
 * and outlive the runtime. */
typedef struct dirty_app_spec {
    const char *name;   /* what callers say: "apps.image", "apps.ml:Model", "images" */
    const char *module; /* what require gets */
    const char
        *object; /* field of the module's table that is the app, NULL: the module */
    const char *options;       /* JSON text of what init(options) gets */
    uint32_t timeout_ms;       /* of this app's calls, 0: none */
    uint32_t max_queue;        /* requests that may wait for this app */
    uint32_t workers;          /* how many workers host it, 0: all */
    bool interruptible;        /* running calls can be ended without ending the worker */
    bool cancel_on_disconnect; /* interrupt a call whose caller has left */
    bool exclusive; /* never in two workers more than its limit: stops before it starts */
    const char *fault; /* why it can't be loaded, as far as is known; NULL: it can */
} dirty_app_spec;

/* Limits of the wire, the same in arbiter and lane. */
typedef struct dirty_wire_limits {
    uint32_t max_message;     /* payload bytes, both ways */
    uint32_t max_args;        /* values in a request or response */
    uint32_t max_depth;       /* nesting of JSON */
    uint32_t send_timeout_ms; /* for a caller that does not read */
} dirty_wire_limits;

typedef struct dirty_worker_start {
    uint32_t number;     /* 1.. of the worker's place, the same for its replacement */
    uint32_t generation; /* counts the workers started in this place */
    pid_t arbiter_pid;   /* checked against getppid() after PR_SET_PDEATHSIG */
    uint32_t lane_count;
    const int *channels;           /* lane_count descriptors, the lanes' ends, blocking */
    dirty_lane_page *const *pages; /* lane_count */
    uint32_t app_count;
    const dirty_app_spec *const *apps; /* app_count; DISPATCH.app indexes it */
    dirty_wire_limits limits;
    uint64_t max_memory_bytes; /* of a lane's Lua heap, 0: no limit */
    uint32_t patience_ms;      /* how long a lane waits for the bytes of a long request */
    const char *lua_path;      /* package.path of the lanes */
    const char *lua_cpath;     /* package.cpath */
    /* Hooks of the configuration, run in the worker's main thread; NULL or ctx first. */
    void *hook_ctx;
    void (*worker_init)(void *hook_ctx, const struct dirty_worker_start *start);
} dirty_worker_start;

#endif
