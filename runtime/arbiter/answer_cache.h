/* answer_cache: caches answers that every caller may ask for and that cost the arbiter
 * more than a call: status and metrics.
 *
 * Making them may take 1/TIME_SHARE of the arbiter's time, averaged over about a
 * second. Occasional callers get a new answer. Frequent callers get the last answer
 * until time is available again, for at most one second. */
#ifndef DIRTY_ARBITER_ANSWER_CACHE_H
#define DIRTY_ARBITER_ANSWER_CACHE_H

#include <stdint.h>

#include "base/buf.h"

typedef enum answer_kind { ANSWER_STATUS, ANSWER_METRICS, ANSWER_KINDS } answer_kind;

typedef struct answer_cache {
    struct {
        dirty_buf text; /* owned, empty before the first answer */
        uint64_t made_ns;
    } answers[ANSWER_KINDS];
    int64_t credit_ns; /* time that may be spent now; negative: overspent */
    uint64_t credited_ns;
} answer_cache;

/* Returns the answer, either new from `make` or the last one. The cache owns it. It is
 * valid until the next call. It is a failed buffer if memory ran out. */
const dirty_buf *answer_cache_get(answer_cache *k, answer_kind kind,
                                  void (*make)(void *ctx, dirty_buf *out), void *ctx);

void answer_cache_deinit(answer_cache *k);

#endif
