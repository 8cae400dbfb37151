/* worker: one worker process as the arbiter sees it.
 *
 *   BOOTING ──all lanes ready──► READY ──► DRAINING ──► (exits) ──► DEAD
 *      └────────────────────────────┴──────► DYING (killed) ────────► ┘
 *
 * A worker fills a slot. Its memory lives until its process is reaped, the hook
 * worker_exit has returned and its handles are closed. What follows from its events for
 * its slot is looked at in a step (slot.h). */
#ifndef DIRTY_ARBITER_WORKER_H
#define DIRTY_ARBITER_WORKER_H

#include "arbiter/lane.h"
#include "arbiter/output.h"
#include "arbiter/plan.h"
#include "arbiter/internal.h"

typedef enum worker_state {
    WORKER_BOOTING,  /* forked, its apps load */
    WORKER_READY,    /* takes requests */
    WORKER_DRAINING, /* told to stop once its lanes are free; takes nothing new */
    WORKER_DYING,    /* SIGKILL was sent */
    WORKER_DEAD      /* reaped */
} worker_state;

/* Why workers ended, for counters: as few as an operator tells apart. */
typedef enum worker_exit_reason {
    WORKER_EXIT_DRAINED, /* told to: reload, scaling, recycling, stop */
    WORKER_EXIT_BOOT,    /* it never got ready */
    WORKER_EXIT_STATUS,  /* it ended itself */
    WORKER_EXIT_SIGNAL,  /* a signal that was not ours */
    WORKER_EXIT_OOM,     /* SIGKILL, likely of the OOM killer */
    WORKER_EXIT_TIMEOUT, /* killed: a call did not stop at its deadline */
    WORKER_EXIT_KILLED   /* killed for another reason */
} worker_exit_reason;
#define WORKER_EXIT_REASONS (WORKER_EXIT_KILLED + 1)

struct worker {
    arbiter *a;
    worker *prev, *next; /* of arbiter.workers, until its handles are closed */
    slot *slot;          /* whose it is; opaque here */
    uint32_t number;     /* of the slot */
    plan *plan;          /* a reference: what it was started by */
    const deal *deal;    /* of plan: what it hosts */
    worker_state state;
    pid_t pid;
    uint32_t generation;
    uint64_t spawned_ns;
    uint32_t ready_lanes;
    uint32_t open_handles;
    uv_timer_t timer;    /* bounds BOOTING, DRAINING and worker_exit */
    uint64_t ready_ns;   /* when it became ready, 0: not yet */
    uint64_t max_rss;    /* in bytes: a larger one is replaced, 0: never; from ready on */
    uint64_t served;     /* requests its lanes finished */
    uint64_t recycle_at; /* replaced once it served so many, 0: never */
    const char *recycle; /* why it is to be replaced ("max_requests"), NULL: it is not */
    bool told_ready;     /* READY: its slot knows */
    bool told_gone;      /* DEAD: its slot knows, its handles close */
    bool overdue;        /* DRAINING: graceful_timeout is over */
    bool serves;         /* it has its slot: a replacement that is held back has not */
    const char *condemned; /* why it is to be killed as soon as its other lanes are free;
                              NULL: it is not */
    worker_exit_reason exit_reason; /* DEAD: why it ended */
    char how[160];                  /* … in words */
    int wait_status;                /* DEAD */
    bool hook_due;  /* DEAD: it is not gone before worker_exit has returned */
    pid_t hook_pid; /* … which this process runs, 0: it has not begun */
    const char
        *retired; /* why it has to go, "its worker …", for callers; NULL: not told */
    const char *kill_reason; /* why we killed it, for log and details; NULL: we did not */
    char boot_error[1000];   /* what its BOOT_FAILED said, "" if it said nothing */
    const app *boot_app;     /* … the app that it named; NULL: none */
    output outputs[2];       /* stdout, stderr */
    uint32_t lane_count;
    lane lanes[];
};

/* Where a worker belongs. */
typedef struct worker_seat {
    slot *slot;
    uint32_t number;     /* of the slot */
    uint32_t generation; /* how many workers it has had, this one included */
} worker_seat;

/* Fork a worker for the seat, to host what the deal of the plan says. 0 with *out set, or
 * -errno. */
int worker_spawn(arbiter *a, worker_seat seat, plan *by, const deal *d, worker **out);

/* Do its lanes take requests? It is ready, has its slot, and need not go. */
static inline bool worker_takes_requests(const worker *w) {
    return w->state == WORKER_READY && w->serves && w->condemned == NULL;
}

/* A lane has finished one more request: after max_requests of them it is to be replaced.
 */
void worker_has_served(worker *w);

/* It is to be replaced because of `why`: a literal. */
void worker_want_recycled(worker *w, const char *why);

/* A lane said READY: the last one makes the worker ready. */
void worker_lane_ready(worker *w);

/* A lane said why it can't boot. `text` is the JSON of BOOT_FAILED. */
void worker_boot_failed(worker *w, const char *text, size_t len);

/* Does a lane have a request? */
bool worker_has_busy_lane(const worker *w);

/* Let it finish what it runs, then end. Bounded by graceful_timeout, then killed. */
void worker_drain(worker *w);

/* The same, and what runs on for too long is told `why`: "was recycled". A literal. */
void worker_retire(worker *w, const char *why);

/* Kill it and its process group now. */
void worker_kill(worker *w, const char *reason);

/* It has a lane that must be killed: no lane gets new work, the others may finish within
 * graceful_timeout, then it is killed. */
void worker_condemn(worker *w, const char *reason);

/* A lane's channel has ended: the process is going, or is broken and will be killed. */
void worker_channel_ended(worker *w);

/* A lane has become free: goes on with an end that waited for it. */
void worker_progress(worker *w);

/* Waitpid said it ended: note how, and read what its lanes had left to say. */
void worker_note_exit(worker *w, int wait_status);

/* Close its handles: its memory goes with the last. */
void worker_close(worker *w);

/* Open the log files again, here and in the workers. 0 or -errno. */
int workers_reopen_logs(arbiter *a);

/* Note how it ended, count and log it. `expected`: it was told to. (worker_exit.c) */
void worker_exit_note(worker *w, int wait_status, bool expected);

/* "drained", "boot", … of a worker_exit_reason */
const char *worker_exit_reason_name(int reason);

/* Write "SIGKILL" to `out`, "SIG34" for a signal without a name. Returns out. */
const char *worker_signal_name(int number, char *out, size_t size);

/* "booting", "ready", … */
const char *worker_state_name(worker_state state);

/* Which app of its list it was booting when it ended, as it said itself or as its page
 * tells. -1: nothing tells. */
int worker_boots(const worker *w);

/* It was reaped, and nothing is done for it any more. */
static inline bool worker_is_gone(const worker *w) {
    return w->state == WORKER_DEAD && !w->hook_due;
}

/* Index of the app in this worker's list, -1: not hosted. */
static inline int worker_hosts(const worker *w, const app *p) {
    return deal_at(w->deal, p);
}

#endif
