/* worker: one worker process as the arbiter sees it.
 *
 *   BOOTING ──all lanes ready──► READY ──► DRAINING ──► (exits) ──► DEAD
 *      └────────────────────────────┴──────► DYING (killed) ────────► ┘
 *
 * A worker fills a slot. Its memory is freed when its process is reaped, the hook
 * worker_exit has returned and its handles are closed. A step updates the slot after
 * events of the worker (slot.h). */
#ifndef DIRTY_ARBITER_WORKER_H
#define DIRTY_ARBITER_WORKER_H

#include "arbiter/lane.h"
#include "arbiter/output.h"
#include "arbiter/plan.h"
#include "arbiter/internal.h"

typedef enum worker_state {
    WORKER_BOOTING,  /* forked, loading its apps */
    WORKER_READY,    /* takes requests */
    WORKER_DRAINING, /* finishes its requests, takes no new ones, then exits */
    WORKER_DYING,    /* SIGKILL was sent */
    WORKER_DEAD      /* reaped */
} worker_state;

/* Why workers ended, for counters. Has only the reasons that an operator tells
 * apart. */
typedef enum worker_exit_reason {
    WORKER_EXIT_DRAINED, /* was told to: reload, scaling, recycling, stop */
    WORKER_EXIT_BOOT,    /* never became ready */
    WORKER_EXIT_STATUS,  /* exited by itself */
    WORKER_EXIT_SIGNAL,  /* died by a signal that the arbiter did not send */
    WORKER_EXIT_OOM,     /* SIGKILL, probably by the OOM killer */
    WORKER_EXIT_TIMEOUT, /* killed: a call did not stop at its deadline */
    WORKER_EXIT_KILLED   /* killed for another reason */
} worker_exit_reason;
#define WORKER_EXIT_REASONS (WORKER_EXIT_KILLED + 1)

struct worker {
    arbiter *a;
    worker *prev, *next; /* in arbiter.workers, until its handles are closed */
    slot *slot;          /* the slot it belongs to; opaque here */
    uint32_t number;     /* number of the slot */
    plan *plan;          /* reference to the plan it was started with */
    const deal *deal;    /* from plan: the apps it hosts */
    worker_state state;
    pid_t pid;
    uint32_t lane_id; /* of its only lane, as an owner on the board */
    uint32_t generation;
    uint64_t spawned_ns;
    uint32_t ready_lanes;
    uint32_t open_handles;
    uv_timer_t timer;      /* bounds BOOTING, DRAINING and worker_exit */
    uint64_t ready_ns;     /* when it became ready, 0: not yet */
    uint64_t max_rss;      /* bytes; replaced if larger, 0: never; set when ready */
    uint64_t served;       /* requests its lanes finished */
    uint64_t recycle_at;   /* replaced after this many requests, 0: never */
    const char *recycle;   /* why to replace it ("max_requests"), NULL: not */
    bool told_ready;       /* READY: the slot was updated */
    bool told_gone;        /* DEAD: the slot was updated, handles are closing */
    bool overdue;          /* DRAINING: graceful_timeout is over */
    bool serves;           /* has its slot; a replacement on hold has not */
    const char *condemned; /* why it is to be killed as soon as its other lanes are free;
                              NULL: it is not */
    worker_exit_reason exit_reason; /* DEAD: why it ended */
    char how[160];                  /* DEAD: why it ended, in words */
    int wait_status;                /* DEAD */
    bool hook_due;  /* DEAD: still exists until worker_exit has returned */
    pid_t hook_pid; /* process that runs worker_exit, 0: not started */
    const char
        *retired; /* why it has to go, for callers ("its worker …"); NULL: not given */
    const char *kill_reason; /* why it was killed, for log and details; NULL: not */
    char boot_error[1000];   /* text of its BOOT_FAILED, "": none */
    const app *boot_app;     /* app named in BOOT_FAILED, NULL: none */
    output outputs[2];       /* stdout, stderr */
    uint32_t lane_count;
    lane lanes[];
};

/* Identifies the slot of a worker. */
typedef struct worker_seat {
    slot *slot;
    uint32_t number;     /* number of the slot */
    uint32_t generation; /* workers the slot has had, including this one */
} worker_seat;

/* Fork a worker for the seat that hosts the apps of the plan's deal `d`. Returns 0 with
 * *out set, or -errno. */
int worker_spawn(arbiter *a, worker_seat seat, plan *by, const deal *d, worker **out);

/* Do its lanes take requests? The worker must be ready, have its slot and not be
 * condemned. */
static inline bool worker_takes_requests(const worker *w) {
    return w->state == WORKER_READY && w->serves && w->condemned == NULL;
}

/* May its lane serve shared connections? */
static inline bool worker_may_share(const worker *w) {
    bool may = w->a->shared != NULL && w->plan->o->fast_path && w->lane_count == 1 &&
               w->lane_id < DIRTY_BOARD_LANES_MAX;
    for (uint32_t i = 0; may && i < w->deal->app_count; i++)
        may = !w->deal->specs[i]->isolated;
    return may;
}

/* Read from the lanes' pages how many requests the worker has served. Marks it for
 * replacement after max_requests, or if the apps' data leave no room for calls. */
void worker_look_at_pages(worker *w);

/* Mark the worker for replacement. `why` is a literal. */
void worker_want_recycled(worker *w, const char *why);

/* Count a lane's READY. The last one makes the worker ready. */
void worker_lane_ready(worker *w);

/* Record and log a lane's boot failure. `text` is the JSON of BOOT_FAILED. */
void worker_boot_failed(worker *w, const char *text, size_t len);

/* Does a lane have a request? */
bool worker_has_busy_lane(const worker *w);

/* Let the worker finish its requests and exit. It is killed after graceful_timeout. */
void worker_drain(worker *w);

/* Drain the worker. Callers whose requests run too long are told `why`, a literal such
 * as "was recycled". */
void worker_retire(worker *w, const char *why);

/* Kill it and its process group now. */
void worker_kill(worker *w, const char *reason);

/* Kill the worker because of one lane, after the other lanes have finished or
 * graceful_timeout has passed. No lane gets new work. */
void worker_condemn(worker *w, const char *reason);

/* Handle the end of a lane's channel. Kills the worker if it does not exit by itself
 * soon. */
void worker_channel_ended(worker *w);

/* Kill a condemned worker if its last lane with a caller has become free. */
void worker_progress(worker *w);

/* Record the exit that waitpid reported, after reading the lanes' last messages. */
void worker_note_exit(worker *w, int wait_status);

/* Close the handles. The memory is freed with the last one. */
void worker_close(worker *w);

/* Reopen the log files here and in the workers. Returns 0 or -errno. */
int workers_reopen_logs(arbiter *a);

/* Record, count and log how the worker ended. `expected`: it was told to end.
 * (worker_exit.c) */
void worker_exit_note(worker *w, int wait_status, bool expected);

/* Returns "drained", "boot", … for a worker_exit_reason. */
const char *worker_exit_reason_name(int reason);

/* Write the signal's name, such as "SIGKILL", to `out`. A signal without a name gives
 * "SIG34". Returns out. */
const char *worker_signal_name(int number, char *out, size_t size);

/* Returns "booting", "ready", … */
const char *worker_state_name(worker_state state);

/* Returns the index of the app that was booting when the worker ended, from BOOT_FAILED
 * or from the lane's page. -1: unknown. */
int worker_boots(const worker *w);

/* Is the worker reaped, with no worker_exit hook left to run? */
static inline bool worker_is_gone(const worker *w) {
    return w->state == WORKER_DEAD && !w->hook_due;
}

/* Returns the index of the app in this worker's list, -1: not hosted. */
static inline int worker_hosts(const worker *w, const app *p) {
    return deal_at(w->deal, p);
}

#endif
