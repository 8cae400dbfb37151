/* internal: what the parts of the arbiter share. One process, one thread, one event loop;
 * every part gets the arbiter passed in, there are no globals.
 *
 * Who owns what: the arbiter owns apps, slots (and through them workers and lanes) and
 * connections, a connection owns its request. A request and the lane that runs it point
 * at each other; the link is cut on both sides at once (lane_detach).
 *
 * Events mark: they change their own object and say in the arbiter that something has
 * changed. Once per turn of its loop a step looks at what follows from it (arbiter.c). */
#ifndef DIRTY_ARBITER_INTERNAL_H
#define DIRTY_ARBITER_INTERNAL_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "arbiter/arbiter.h"
#include "arbiter/answer_cache.h"
#include "arbiter/output.h"
#include "base/buf.h"
#include "base/channel.h"
#include "base/oom.h"
#include "base/ratelimit.h"
#include "base/slice.h"
#include "wire/code.h"

typedef struct app app;
typedef struct lane lane;
typedef struct lane_events lane_events;
typedef struct listener listener;
typedef struct slot slot;
typedef struct plan plan;
typedef struct request request;
typedef struct reload reload;
typedef struct conn conn;
typedef struct worker worker;
typedef struct arbiter arbiter;

typedef enum arbiter_phase {
    ARBITER_STARTING, /* the first workers boot: a boot failure ends everything */
    ARBITER_SERVING,
    ARBITER_DRAINING, /* told to stop: what is accepted gets finished, nothing new */
    ARBITER_ENDING    /* workers are told to end, or killed; then the loop runs out */
} arbiter_phase;

typedef struct arbiter_counters {
    uint64_t connections; /* accepted so far */
    uint64_t requests;    /* read so far, refused ones too */
    uint64_t values;      /* answered with a value or a whole stream */
    uint64_t errors[DIRTY_CODE_LAST + 1];
    uint64_t abandoned;   /* dropped from the queue because their caller left */
    uint64_t disconnects; /* callers that left while their call ran */
    uint64_t requeued;    /* given back by a lane unstarted: no descriptor */
    uint64_t stalled;     /* given back by a lane: their senders were slow */
    uint64_t evicted;     /* idle connections closed to make room */
    uint64_t reloads;
    uint64_t reload_failures;
    uint64_t recycled; /* workers replaced for max_requests or max_rss */
    uint64_t respawns; /* workers started to replace one that died */
    uint64_t boot_failures;
    uint64_t killed;   /* workers we killed */
    uint64_t exits[8]; /* workers that ended, by worker_exit_reason */
} arbiter_counters;

/* Calls of the hook worker_exit (exit_hook.h). */
#define EXIT_HOOKS_AT_ONCE 8
typedef struct exit_hooks {
    unsigned running;
    pid_t killed[EXIT_HOOKS_AT_ONCE]; /* not reaped yet, 0: none */
    uint64_t rest_until_ns;           /* until then it is left out, 0: it is not */
    unsigned missed;                  /* how often it was left out since */
} exit_hooks;

/* What the supervisor reported. Without a supervisor: what the arbiter found out about
 * its own socket. */
typedef struct arbiter_heard {
    char socket[256];      /* what is wrong with the socket's files, "": nothing */
    uint32_t socket_binds; /* how often the socket was bound again */
    uint32_t log_opens;    /* how often the log was reopened */
    char log[128];         /* why the last reopening failed; "": it did not */
} arbiter_heard;

/* Small buffers that are kept for the next requests that have to wait. */
#define SPARE_INPUTS 32
#define SPARE_INPUT_BYTES 1024

struct arbiter {
    const dirty_arbiter_options *boot; /* what we were started with: socket, pidfile */
    const dirty_arbiter_options *o; /* of the current plan: all that a reload changes */
    plan *plan;                     /* the current one */
    uint32_t last_plan;
    uv_loop_t loop;
    arbiter_phase phase;
    int status; /* what dirty_arbiter_run returns */
    pid_t pid;
    uint64_t started_ns;

    listener *listener; /* owned */
    app *apps;          /* list of all that live */
    app *apps_by_name;  /* uthash head over those that are served */
    app *found;         /* the one of them that was looked up last, NULL: none */
    uint32_t queued;    /* requests that wait, over all apps */
    uint64_t last_order;

    slot **slots; /* owned; the first plan->slot_count are to be filled */
    uint32_t slot_room;
    worker *workers; /* list of all, those that end included */
    exit_hooks exit_hooks;
    reload *reload; /* owned: the reload under way, and what became of the last */
    lane *idle;     /* list of lanes that are ready and free, last used first */
    uint64_t last_seq;

    output outputs[2];  /* what hooks and the configuration print */
    int output_ends[2]; /* the write ends of these (base/capture.h); -1: none */
    dirty_oom oom;
    const lane_events *lane_events; /* what is done about what lanes say */
    /* Answers a whole request to a reserved app, "@arbiter". */
    void (*reserved_app)(conn *c, dirty_slice app_name);
    conn *conns;      /* list of all */
    conn *idle_conns; /* list of those that are idle, the longest idle first */
    conn *lingering;  /* list of those that linger, the answer out, oldest first */
    conn *looks;      /* list of those whose next request is looked at in this turn */
    uint64_t upload_bytes;     /* in the files of all uploads (upload.h) */
    answer_cache answer_cache; /* owned: answers that anybody may ask for */
    dirty_buf last_words; /* owned, never empty: room for what is said without memory */
    conn *spare;          /* owned: memory of the next connection, may be NULL */
    dirty_buf
        spare_inputs[SPARE_INPUTS]; /* owned, empty: for requests that have to wait */
    uint32_t spare_input_count;
    dirty_ratelimit memory_limit;   /* of log lines about scarce memory */
    dirty_ratelimit shortage_limit; /* of log lines about other shortages */
    uint32_t conn_count;            /* all, those that are closing included */
    uint32_t closing_count;         /* … of them, those that are ended */
    uint32_t conn_peak;             /* the most there were since memory was given back */
    uint64_t descriptor_max;        /* that this process may have open */
    arbiter_counters counters;

    uv_prepare_t step; /* active while something is marked, or the runtime ends */
    uv_idle_t more;    /* active: the step has left work, the next turn must not wait */
    uv_timer_t retry_timer; /* ends a pause before idle lanes are tried again */
    unsigned marks;         /* arbiter_mark: what the step has to look at */
    uv_prepare_cb on_step;
    bool start_over;   /* the start is over, though not all workers are ready */
    bool start_failed; /* the first start failed: end */
    bool reloads;      /* a reload is under way */
    uv_signal_t signals[8];
    uv_timer_t stop_timer;
    uv_timer_t notify_timer; /* notify.h */
    uv_poll_t notify_poll;
    arbiter_heard heard;
    uv_timer_t check_timer; /* once a second: memory, quarantine, output, listener */
    unsigned joins;         /* reloads that quarantine.h has begun lately */
    uint64_t join_at_ns;    /* when it may begin the next one */
    bool ending;            /* nothing waits for requests any more */
    bool finished;          /* the last worker is gone, the loop runs out */
    uint8_t scratch[DIRTY_HEAD_BYTES_MAX]; /* first bytes of the request at hand */
};

/* The phases follow each other in their order; some may be left out. */
static inline void arbiter_set_phase(arbiter *a, arbiter_phase to) {
    assert(to >= a->phase);
    a->phase = to;
}

/* What the step looks at. */
typedef enum arbiter_mark_bits {
    MARK_CHANGED = 1,  /* workers, slots or a reload */
    MARK_REMATCH = 2,  /* a request waits that an idle lane may take */
    MARK_ROOM = 4,     /* a descriptor was freed: one may be accepted again */
    MARK_HOPELESS = 8, /* a circuit has opened: some may wait for what nobody can serve */
    MARK_LOOK = 16     /* connections are in arbiter.looks */
} arbiter_mark_bits;

/* Something has changed: the step looks at what follows, once, at the end of this turn of
 * the loop. */
static inline void arbiter_mark(arbiter *a, unsigned bits) {
    a->marks |= bits;
    const uv_handle_t *step = (const uv_handle_t *)&a->step;
    if (!uv_is_active(step) && !uv_is_closing(step)) /* as at the very end */
        uv_prepare_start(&a->step, a->on_step);
}

#endif
