/* meter: counts requests by app, action and outcome, and writes them as Prometheus text
 * (docs/operations.md lists the series).
 *
 * An action is counted by its name once a lane has run it. Names that only callers
 * invented count as "other", so a caller can't fill the arbiter's memory. */
#ifndef DIRTY_ARBITER_METER_H
#define DIRTY_ARBITER_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/call_counts.h"
#include "wire/code.h"

/* Limit of actions per app that are counted by name; further ones are "other". */
#define METER_ACTIONS_MAX 100

typedef struct meter_action meter_action;

/* Embedded in an app, zeroed. */
typedef struct meter {
    meter_action *actions; /* owned, uthash by name */
    meter_action *last;    /* action of the previous request: often the same again */
    meter_action *other;   /* owned */
    uint32_t action_count;
} meter;

typedef struct meter_sample {
    const char *action;
    dirty_code outcome;
    bool resolved;     /* a lane has run or knows the action */
    uint64_t queue_ns; /* from the first byte to a lane, or to an error reply */
    uint64_t run_ns;   /* 0: it did not run */
} meter_sample;

void meter_deinit(meter *m);

/* Count one finished request. If memory runs out, only counts are lost. */
void meter_count(meter *m, const meter_sample *sample);

/* What meter_fold has added. */
typedef struct meter_gain {
    uint64_t outcomes[DIRTY_CODE_LAST + 1];
    uint64_t run_ns, runs;
} meter_gain;

/* Add what a lane has counted of one action since the last time. `name` NULL: the rest of
 * the app. `folded` says how far it was counted then, and is brought up to date. The
 * lane's numbers may be overwritten by a broken app: a number that went back counts as
 * none. */
void meter_fold(meter *m, const char *name, const dirty_action_counts *counts,
                dirty_action_counts *folded, meter_gain *gain);

/* Append the series of one app: counts, or the histogram of queue or run times. */
void meter_append_requests(const meter *m, const char *app, dirty_buf *out);
void meter_append_histograms(const meter *m, const char *app, bool run, dirty_buf *out);

/* Append `text` as a quoted label value. */
void meter_append_label(dirty_buf *out, const char *text);

#endif
