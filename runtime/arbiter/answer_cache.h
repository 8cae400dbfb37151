/* answer_cache: the answers that anybody may ask for and that cost the arbiter more than
 * a call: status and metrics.
 *
 * Making them may take one part in TIME_SHARE of its time, over a second or so. Who asks
 * now and then gets one that is made for him. Where they are asked for faster than that,
 * the last one is given again until there is time for the next, for a second at most. */
#ifndef DIRTY_ARBITER_ANSWER_CACHE_H
#define DIRTY_ARBITER_ANSWER_CACHE_H

#include <stdint.h>

#include "base/buf.h"

typedef enum answer_kind { ANSWER_STATUS, ANSWER_METRICS, ANSWER_KINDS } answer_kind;

typedef struct answer_cache {
    struct {
        dirty_buf text; /* owned, empty before the first */
        uint64_t made_ns;
    } answers[ANSWER_KINDS];
    int64_t credit_ns; /* time that may be spent now; below 0: too much was */
    uint64_t credited_ns;
} answer_cache;

/* The answer: made by `make` now, or the last one. It stays the cache's and is valid
 * until the next call; failed where there was no memory. */
const dirty_buf *answer_cache_get(answer_cache *k, answer_kind kind,
                                  void (*make)(void *ctx, dirty_buf *out), void *ctx);

void answer_cache_deinit(answer_cache *k);

#endif
