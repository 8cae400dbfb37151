/* world: what all connections of the random client share: the limits of the server they
 * call, who was killed and when, what came of everything, and what was wrong. */
#ifndef RANDOM_WORLD_H
#define RANDOM_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "spec/chaos/monkey.h"
#include "spec/random/ask.h"
#include "spec/random/history.h"
#include "wire/code.h"

/* How many requests waited at most, remembered for moments of this length. */
#define MOMENTS 8
#define MOMENT_NS 125000000ull
/* Hang-ups that are remembered: their requests may still wait at the server. */
#define HANG_UPS 1024

/* More of them follow from the first, as a rule. */
#define COMPLAINTS_PRINTED 3

/* Ends of workers that are remembered. */
#define LOSSES 256

struct peer;

/* A worker has ended, or will have by then. It may have cut short what so many
 * connections were being told. */
typedef struct world_loss {
    uint64_t at_ns;
    uint32_t left;
} world_loss;

typedef struct tally {
    uint64_t connections, asks, refused, resets;
    uint64_t values[ASK_KINDS];
    uint64_t errors[DIRTY_CODE_LAST + 1];
    uint64_t half_closes, hang_ups, stalls, truncated, cut_short;
    uint64_t unsent, unread, unanswered; /* asks that have no answer, by reason */
    double worst_late_ms;                /* after an ask's deadline */
    uint64_t complaints;
} tally;

typedef struct world {
    const char *socket;
    uint64_t seed;
    delivery_choice choice; /* what connections are chosen by */
    uint32_t app_timeout_ms, send_timeout_ms, grace_ms, graceful_ms, margin_ms;
    uint32_t max_queue, threads;
    double slow;
    FILE *fates; /* one line for each note: may be NULL */

    struct peer *peers;
    uint32_t peer_count;
    uint32_t tide;   /* so many of them may open a connection now */
    bool open;       /* connections and requests begin */
    bool early;      /* the runtime is being started: nobody may listen yet */
    uint64_t serial; /* of the newest connection */

    monkey ape;
    pid_t arbiter;        /* 0: not known */
    uint64_t beheaded_ns; /* the arbiter was last killed, or seen to be gone */
    uint64_t stopping_ns; /* the runtime was told to stop */
    uint64_t kills_seen, beheadings_seen;
    uint64_t look_ns; /* when the arbiter is next looked for */
    world_loss losses[LOSSES];
    uint32_t losses_next;
    uint64_t danger_ns; /* until then a worker may end by what was asked of it */
    uint64_t served_ns; /* somebody was last taken or answered */
    uint64_t hung_up_ns[HANG_UPS];
    uint32_t hung_up_next;
    uint32_t waiting[MOMENTS]; /* at most, in the last moments, a ring */
    uint64_t moment;           /* the present one */

    history all;
    uint64_t began_ns;
    tally tally;
} world;

/* Something is wrong that no connection is to blame for. The first few are printed. */
void world_complain(world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Look at who lives, at every turn of the loop. */
void world_watch(world *w, uint64_t now_ns);

/* Is the arbiter still there, that was there before? If it died by itself that is told.
 */
void world_check_arbiter(world *w, uint64_t now_ns);

/* A connection has ended inside a frame, or without an answer: may the end of a worker
 * since `since_ns` explain it? Each explains so many as it has lanes, once. */
bool world_takes_credit(world *w, uint64_t since_ns);

/* May a worker have ended since then? */
bool world_lost_worker(const world *w, uint64_t since_ns);

/* A worker may end by what is asked of it, until then: the one that asks is answered. */
void world_expect_loss(world *w, uint64_t until_ns);

void world_note_hang_up(world *w, uint64_t now_ns);

/* How many requests the server may have seen waiting at once in the last moments, those
 * whose callers it may not have seen leave included. */
uint32_t world_most_waiting(const world *w, uint64_t now_ns);

/* The fate of an ask: "once", "maybe", "no" (spec/support/aftermath.lua). */
void world_fate(world *w, const ask *a, const char *fate);

static inline uint64_t world_margin_ns(const world *w) {
    return (uint64_t)(w->margin_ms * 1e6 * w->slow);
}

void world_print_tally(const world *w, FILE *out);

#endif
