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
#include "wire/code.h"

/* Limit of actions per app that are counted by name; further ones are "other". */
#define METER_ACTIONS_MAX 100
#define METER_BUCKETS 16

typedef struct meter_histogram {
    uint64_t buckets[METER_BUCKETS + 1]; /* not cumulative; the last bucket is +Inf */
    uint64_t sum_ns;
    uint64_t count;
} meter_histogram;

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

/* Append the series of one app: counts, or the histogram of queue or run times. */
void meter_append_requests(const meter *m, const char *app, dirty_buf *out);
void meter_append_histograms(const meter *m, const char *app, bool run, dirty_buf *out);

/* Append `text` as a quoted label value. */
void meter_append_label(dirty_buf *out, const char *text);

#endif
