/* reload: a rolling reload.
 *
 *   IDLE ─start─► PROBING ─report─► COVERING ─all ready─► REPLACING ─last one─► IDLE
 *                    └── failed ───────┴── a worker can't boot: the old plan goes on
 *
 * A reload that ends is done; failed, and nothing is changed; or partial: the new plan
 * holds, but some workers could not be replaced, or some options not be changed.
 *
 * PROBING reads the configuration and loads every app's module in a child process, as
 * either may take any time.
 * COVERING boots new workers, held back, in as few slots as host every app once: only
 * when all of them are ready is the new plan installed, so code that can't boot never
 * replaces code that serves. REPLACING then goes slot by slot: start the new worker,
 * wait until it is ready, let the old one finish, next. A second start while one is under
 * way makes one more reload after it. */
#ifndef DIRTY_ARBITER_RELOAD_H
#define DIRTY_ARBITER_RELOAD_H

#include "arbiter/plan.h"
#include "arbiter/internal.h"
#include "base/buf.h"

typedef enum reload_state {
    RELOAD_IDLE,
    RELOAD_PROBING,
    RELOAD_COVERING,
    RELOAD_REPLACING
} reload_state;

/* How a reload ended. */
typedef struct reload_end {
    uint64_t number;
    uint64_t at_ns;
    char result[16]; /* as below */
    char reason[700];
} reload_end;

struct reload {
    arbiter *a;
    reload_state state;
    bool again;      /* one more was asked for meanwhile */
    uint64_t number; /* of the reload under way or the last one, 1.. */
    plan *next;      /* COVERING: owned; then it is the arbiter's */
    uint32_t at;     /* REPLACING: index of the slot in hand */
    uint32_t tries;  /* COVERING: of all; REPLACING: of the slot in hand */
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
    reload_end last;  /* of the last one that ended, number 0: none has */
};

int reload_init(arbiter *a);
void reload_close(arbiter *a); /* at the end: nothing is rolled any more */
void reload_deinit(arbiter *a);

/* SIGHUP. Returns the number of the reload that will tell how this one went. */
uint64_t reload_start(arbiter *a);

/* Deal the apps anew by the configuration that holds, read or not since: its file may be
 * half edited. False: not now, one is under way. */
bool reload_start_same(arbiter *a);

/* What follows from what has become of workers: the one under way goes on. */
void reload_step(arbiter *a);

/* SIGCHLD: the probe may be the one that ended. */
void reload_reap(arbiter *a);

const char *reload_state_name(reload_state state);

#endif
