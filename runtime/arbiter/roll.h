/* roll: a rolling reload.
 *
 *   IDLE ─start─► PROBING ─report─► COVERING ─all ready─► REPLACING ─last one─► IDLE
 *                    └── failed ───────┴── a worker can't boot: the old plan goes on
 *
 * A roll that ends is done; failed, and nothing is changed; or partial: the new plan
 * holds, but some workers could not be replaced, or some options not be changed.
 *
 * PROBING reads the configuration and loads every app's module in a child process, as
 * either may take any time.
 * COVERING boots new workers, held back, in as few places as host every app once: only
 * when all of them are ready is the new plan installed, so code that can't boot never
 * replaces code that serves. REPLACING then goes place by place: start the new worker,
 * wait until it is ready, let the old one finish, next. A second start while one is under
 * way makes one more roll after it. */
#ifndef DIRTY_ARBITER_ROLL_H
#define DIRTY_ARBITER_ROLL_H

#include "arbiter/plan.h"
#include "arbiter/state.h"
#include "base/buf.h"

typedef enum roll_state {
    ROLL_IDLE,
    ROLL_PROBING,
    ROLL_COVERING,
    ROLL_REPLACING
} roll_state;

/* How a roll ended. */
typedef struct roll_end {
    uint64_t number;
    uint64_t at_ns;
    char result[16]; /* as below */
    char reason[700];
} roll_end;

struct roll {
    arbiter *a;
    roll_state state;
    bool again;      /* one more was asked for meanwhile */
    uint64_t number; /* of the roll under way or the last one, 1.. */
    plan *next;      /* COVERING: owned; then it is the arbiter's */
    uint32_t at;     /* REPLACING: index of the place in hand */
    uint32_t tries;  /* COVERING: of all; REPLACING: of the place in hand */
    pid_t probe_pid; /* 0: none runs */
    uv_pipe_t report_pipe;
    bool pipe_open;
    bool pipe_closing; /* its handle can't be used again yet */
    uv_timer_t timer;  /* bounds PROBING */
    dirty_buf report;
    char chunk[16384];
    uint64_t started_ns;
    char result[16];  /* "done", "failed", "partial"; "" while one is under way */
    char reason[700]; /* of a failure, for people */
    char kept[640];   /* what of the new configuration can't be taken over, "": nothing */
    roll_end last;    /* of the last one that ended, number 0: none has */
};

int roll_init(arbiter *a);
void roll_close(arbiter *a); /* at the end: nothing is rolled any more */
void roll_deinit(arbiter *a);

/* SIGHUP. Returns the number of the roll that will tell how this one went. */
uint64_t roll_start(arbiter *a);

/* Deal the apps anew by the configuration that holds, read or not since: its file may be
 * half edited. False: not now, one is under way. */
bool roll_start_same(arbiter *a);

/* What follows from what has become of workers: the one under way goes on. */
void roll_step(arbiter *a);

/* SIGCHLD: the probe may be the one that ended. */
void roll_reap(arbiter *a);

const char *roll_state_name(roll_state state);

#endif
