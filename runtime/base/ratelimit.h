/* ratelimit: limits repeated log lines. dirty_ratelimit lets one line about a lasting
 * condition pass, then none for an interval. dirty_bucket is a token bucket for lines
 * that apps write: a burst, then a rate per second. */
#ifndef DIRTY_RATELIMIT_H
#define DIRTY_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* Zero it: the first line passes. */
typedef struct dirty_ratelimit {
    uint64_t quiet_until_ns;
} dirty_ratelimit;

/* Whether a line may pass now. If it does, none may pass for the next `every_ms`. */
static inline bool dirty_ratelimit_pass(dirty_ratelimit *r, uint32_t every_ms) {
    uint64_t now_ns = dirty_now_ns();
    if (now_ns < r->quiet_until_ns)
        return false;
    r->quiet_until_ns = now_ns + every_ms * DIRTY_NS_PER_MS;
    return true;
}

/* Zero it: the bucket is full. */
typedef struct dirty_bucket {
    uint64_t filled_ns; /* last refill */
    double tokens;
    uint64_t refused; /* since the last one that passed; the caller resets it */
} dirty_bucket;

/* Whether one more line may pass, with at most `burst` at once and `per_s` a second. */
static inline bool dirty_bucket_pass(dirty_bucket *b, double burst, double per_s) {
    uint64_t now_ns = dirty_now_ns();
    b->tokens += (double)(now_ns - b->filled_ns) / 1e9 * per_s;
    b->tokens = b->filled_ns == 0 || b->tokens > burst ? burst : b->tokens;
    b->filled_ns = now_ns;
    if (b->tokens < 1) {
        b->refused++;
        return false;
    }
    b->tokens -= 1;
    return true;
}

/* Limits for the lines that an app logs or prints: at once, and per second. */
#define DIRTY_APP_LINES_BURST 500
#define DIRTY_APP_LINES_PER_S 100

#endif
