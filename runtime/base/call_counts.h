/* call_counts: what one lane has counted of its calls, in memory that it shares with the
 * arbiter. The lane writes, the arbiter reads when somebody asks, and adds what is new to
 * its own counters (arbiter/meter.h). So a call costs the arbiter no counting.
 *
 * There is an entry for each action of each app that a lane has run, up to
 * DIRTY_COUNTS_ACTIONS, and behind them one for each app with the rest of its actions. A
 * broken app may have overwritten all of it: the arbiter checks what it reads. */
#ifndef DIRTY_CALL_COUNTS_H
#define DIRTY_CALL_COUNTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* More than there are error codes (wire/code.h), and bytes of a name with its end
 * (wire/request.h). */
#define DIRTY_COUNTS_CODES 32
#define DIRTY_COUNTS_NAME 256
#define DIRTY_COUNTS_ACTIONS 128
#define DIRTY_HISTOGRAM_BUCKETS 16

/* Times by size. The bounds are dirty_histogram_bounds_s. */
typedef struct dirty_histogram {
    uint64_t buckets[DIRTY_HISTOGRAM_BUCKETS + 1]; /* not cumulative; the last is +Inf */
    uint64_t sum_ns;
    uint64_t count;
} dirty_histogram;

typedef struct dirty_action_counts {
    char action[DIRTY_COUNTS_NAME];
    uint64_t outcomes[DIRTY_COUNTS_CODES]; /* by code; 0: a value */
    dirty_histogram queue, run;
} dirty_action_counts;

typedef struct dirty_call_counts {
    uint32_t app_count;
    _Atomic uint32_t used;               /* named entries in use */
    uint16_t apps[DIRTY_COUNTS_ACTIONS]; /* app of each named entry */
    dirty_action_counts entries[];       /* DIRTY_COUNTS_ACTIONS + app_count */
} dirty_call_counts;

/* Map memory for the calls of `app_count` apps. Children inherit it. NULL: no memory. */
dirty_call_counts *dirty_call_counts_open(uint32_t app_count);
void dirty_call_counts_close(dirty_call_counts *counts, uint32_t app_count);

/* Bytes of the memory for so many apps. */
size_t dirty_call_counts_bytes(uint32_t app_count);

/* One finished call. */
typedef struct dirty_call_sample {
    uint32_t app;       /* index in the lane's list of apps */
    dirty_slice action; /* empty: unknown */
    unsigned outcome;   /* an error code; 0: a value */
    bool resolved;      /* the app knows the action */
    uint64_t queue_ns;  /* from the first byte of the request to its lane */
    uint64_t run_ns;    /* 0: it did not run */
} dirty_call_sample;

/* Count a call. Only the lane calls it. An action is counted by its name once it is
 * resolved; names that only callers invented are counted with the rest of the app, so a
 * caller can't fill the table. */
void dirty_call_counts_add(dirty_call_counts *counts, const dirty_call_sample *sample);

/* Add a time to a histogram. */
void dirty_histogram_add(dirty_histogram *h, uint64_t ns);

/* Upper bounds in seconds, from a no-op to the default timeout. */
extern const double dirty_histogram_bounds_s[DIRTY_HISTOGRAM_BUCKETS];

#endif
