/* internal: what the parts of the arbiter share. The arbiter is one process with one
 * thread and one event loop. Every part gets the arbiter as an argument; there are no
 * globals.
 *
 * Ownership: the arbiter owns apps, slots and connections. A slot owns its workers, a
 * worker its lanes, a connection its request. A request and the lane that runs it point
 * at each other; lane_detach cuts both links at once.
 *
 * Events change only their own object and set a mark in the arbiter. A step runs once per
 * turn of the loop and handles what follows from the marks (arbiter.c). */
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
#include "base/call_log.h"
#include "base/channel.h"
#include "base/oom.h"
#include "base/ratelimit.h"
#include "base/report.h"
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
typedef struct shared_conns shared_conns;
typedef struct hangup_watch hangup_watch;
typedef struct edits edits;
typedef struct ready_lanes ready_lanes;
typedef struct arbiter arbiter;

typedef enum arbiter_phase {
    ARBITER_STARTING, /* the first workers boot: a boot failure ends the runtime */
    ARBITER_SERVING,
    ARBITER_DRAINING, /* told to stop: finishes accepted requests, takes no new ones */
    ARBITER_ENDING    /* workers are stopped or killed; then the loop ends */
} arbiter_phase;

typedef struct arbiter_counters {
    uint64_t connections; /* accepted so far */
    uint64_t requests;    /* read so far, including refused ones */
    uint64_t direct;      /* of them: taken by lanes themselves, and finished */
    uint64_t bounced;     /* shared connections that lanes gave back */
    uint64_t shared;      /* connections that were shared, again or for the first time */
    uint64_t values;      /* answered with a value or a complete stream */
    uint64_t errors[DIRTY_CODE_LAST + 1];
    uint64_t abandoned;   /* dropped from the queue because their caller left */
    uint64_t disconnects; /* callers that left while their call ran */
    uint64_t requeued;    /* returned by a lane unstarted: no descriptor left */
    uint64_t stalled;     /* returned by a lane: the sender was slow */
    uint64_t evicted;     /* idle connections closed to make room */
    uint64_t reloads;
    uint64_t reload_failures;
    uint64_t recycled; /* workers replaced for max_requests or max_rss */
    uint64_t respawns; /* workers started to replace one that died */
    uint64_t boot_failures;
    uint64_t killed;   /* workers we killed */
    uint64_t exits[8]; /* workers that ended, by worker_exit_reason */
} arbiter_counters;

/* Running calls of the hook worker_exit (exit_hook.h). */
#define EXIT_HOOKS_AT_ONCE 8
typedef struct exit_hooks {
    unsigned running;
    pid_t killed[EXIT_HOOKS_AT_ONCE]; /* killed but not reaped, 0: none */
    uint64_t rest_until_ns;           /* the hook is skipped until then, 0: not skipped */
    unsigned missed;                  /* how often it has been skipped since */
} exit_hooks;

/* What the supervisor reported. Without a supervisor: what the arbiter itself found
 * wrong with its socket. */
typedef struct arbiter_heard {
    char socket[256];      /* what is wrong with the socket's files, "": nothing */
    uint32_t socket_binds; /* how often the socket was bound again */
    uint32_t log_opens;    /* how often the log was reopened */
    char log[128];         /* why the last reopening failed, "": it did not fail */
    dirty_upgrades upgrades;
    uint32_t upgrade_number;                   /* upgrades so far */
    char upgrade_json[DIRTY_REPORT_TEXT_SIZE]; /* for the status, "": no supervisor */
} arbiter_heard;

/* Keep this many small buffers for requests that will have to wait. */
#define SPARE_INPUTS 32
#define SPARE_INPUT_BYTES 1024

struct arbiter {
    const dirty_arbiter_options *boot; /* from the start: socket, pidfile */
    const dirty_arbiter_options *o;    /* of the current plan; a reload replaces them */
    plan *plan;                        /* the current plan */
    uint32_t last_plan;
    uv_loop_t loop;
    arbiter_phase phase;
    int status; /* what dirty_arbiter_run returns */
    pid_t pid;
    uint64_t started_ns;

    listener *listener; /* owned */
    app *apps;          /* list of all apps */
    app *apps_by_name;  /* uthash head of the apps that are served */
    app *found;         /* the app found by the last lookup, NULL: none */
    uint32_t queued;    /* waiting requests of all apps */
    uint64_t last_order;

    slot **slots; /* owned; the first plan->slot_count must have workers */
    uint32_t slot_room;
    worker *workers; /* list of all workers, ending ones included */
    exit_hooks exit_hooks;
    reload *reload; /* owned: the current reload and the last result */
    edits *edits;   /* owned; NULL: not --dev */
    lane *idle;     /* list of ready, free lanes, last used first */
    uint64_t last_seq;

    output outputs[2];  /* output of hooks and of the configuration */
    int output_ends[2]; /* their write ends (base/capture.h), -1: none */
    dirty_oom oom;
    const lane_events *lane_events; /* callbacks for messages of lanes */
    /* Answers a whole request to a reserved app, "@arbiter". */
    void (*reserved_app)(conn *c, dirty_slice app_name);
    /* Obeys ACCEPT and DEPART of the supervisor. */
    void (*on_order)(arbiter *a, dirty_report_kind order);
    conn *conns;           /* list of all connections */
    conn *idle_conns;      /* list of the idle ones, longest idle first */
    conn *lingering;       /* list of lingering ones whose answer is sent, oldest first */
    conn *looks;           /* list of those whose next request is read in this turn */
    uint64_t upload_bytes; /* total size of all upload files (upload.h) */
    answer_cache answer_cache;  /* owned: answers that every caller may ask for */
    dirty_recent_calls *recent; /* owned: of its own answers and of ended workers */
    dirty_call_log call_log;    /* of its own answers */
    dirty_buf last_words;  /* owned; allocated early, for errors when memory is out */
    shared_conns *shared;  /* owned; NULL: fast_path is off */
    hangup_watch *hangups; /* owned */
    ready_lanes *ready;    /* owned; NULL: fast_path is off */
    conn *spare;           /* owned: memory of the next connection, may be NULL */
    dirty_buf
        spare_inputs[SPARE_INPUTS]; /* owned, empty: for requests that have to wait */
    uint32_t spare_input_count;
    dirty_ratelimit memory_limit;   /* limits log lines about scarce memory */
    dirty_ratelimit shortage_limit; /* limits log lines about other shortages */
    uint32_t conn_count;            /* all connections, closing ones included */
    uint32_t closing_count;         /* connections in CLOSING */
    uint32_t conn_peak;             /* the maximum since the heap was last trimmed */
    uint64_t descriptor_max;        /* descriptors this process may have open */
    arbiter_counters counters;

    uv_prepare_t step; /* active while a mark is set, or while the runtime ends */
    uv_idle_t more;    /* active if the step left work: the next turn must not block */
    uv_timer_t retry_timer; /* ends the pause before idle lanes are tried again */
    unsigned marks;         /* arbiter_mark_bits that the step has to handle */
    uv_prepare_cb on_step;
    bool start_over;   /* the start phase ended before all workers were ready */
    bool start_failed; /* the first start failed: end the runtime */
    bool reloads;      /* a reload is running */
    uv_signal_t signals[8];
    uv_timer_t stop_timer;
    uv_timer_t notify_timer; /* notify.h */
    uv_poll_t notify_poll;
    arbiter_heard heard;
    uv_timer_t check_timer; /* checks memory, quarantine, output, listener every second */
    unsigned joins;         /* reloads that quarantine began recently */
    uint64_t join_at_ns;    /* when quarantine may begin the next one */
    bool departs;           /* another runtime accepts at the socket: DRAINING refuses
                               nobody, and ends connections between two requests */
    bool ending;            /* stop_now has run: no request waits any more */
    bool finished;          /* the last worker is gone: the loop ends */
    uint8_t scratch[DIRTY_HEAD_BYTES_MAX]; /* first bytes of the current request */
};

/* Set the phase. Phases only go forward; some may be skipped. */
static inline void arbiter_set_phase(arbiter *a, arbiter_phase to) {
    assert(to >= a->phase);
    a->phase = to;
}

/* What the step has to handle. */
typedef enum arbiter_mark_bits {
    MARK_CHANGED = 1,  /* a worker, a slot or a reload changed */
    MARK_REMATCH = 2,  /* an idle lane may be able to take a waiting request */
    MARK_ROOM = 4,     /* a descriptor was freed: accept again */
    MARK_HOPELESS = 8, /* a circuit opened: some requests may have no worker left */
    MARK_LOOK = 16,    /* arbiter.looks is not empty */
    MARK_SHARED = 32   /* the first connection is shared */
} arbiter_mark_bits;

/* Tell the step that something changed. The step runs once, at the end of this turn of
 * the loop. */
static inline void arbiter_mark(arbiter *a, unsigned bits) {
    a->marks |= bits;
    const uv_handle_t *step = (const uv_handle_t *)&a->step;
    if (!uv_is_active(step) && !uv_is_closing(step)) /* closing at the end */
        uv_prepare_start(&a->step, a->on_step);
}

#endif
