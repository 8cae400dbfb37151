/* reload: a rolling reload.
 *
 *   IDLE ─start─► PROBING ─report─► COVERING ─all ready─► REPLACING ─last one─► IDLE
 *                    └── failed ───────┴── a worker can't boot: the old plan goes on
 *
 * A reload ends as done, failed or partial. Failed: nothing changed. Partial: the new
 * plan is in force, but some workers or some options are still the old ones.
 *
 * PROBING reads the configuration and loads the module of every app. It does so in a
 * child process, because both may take any time. COVERING boots new workers in the fewest
 * slots that together host every app. They do not serve yet. The new plan is installed
 * only when all of them are ready, so code that can't boot never replaces code that
 * serves. REPLACING goes slot by slot: it starts the new worker, waits until that is
 * ready, and lets the old one finish. A start during a reload causes one more reload
 * afterwards. */
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
    uint32_t tries;  /* in COVERING of all slots, in REPLACING of the current slot */
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
void reload_close(arbiter *a); /* at the end of the runtime */
void reload_deinit(arbiter *a);

/* What became of a start. */
typedef struct reload_answer {
    uint64_t number; /* of the reload whose result answers this start; 0: none */
    const char
        *start; /* "begun"; "follows" the one that runs or the start of the runtime;
                   "merged" with one that follows already; "refused": it stops */
} reload_answer;

/* SIGHUP. */
reload_answer reload_start(arbiter *a);

/* Deal the apps again with the current configuration. Does not read the file: somebody
 * may be editing it. False: a reload is under way. */
bool reload_start_same(arbiter *a);

/* Continue the reload under way, after workers became ready or ended. */
void reload_step(arbiter *a);

/* SIGCHLD: the probe may be the one that ended. */
void reload_reap(arbiter *a);

const char *reload_state_name(reload_state state);

#endif
