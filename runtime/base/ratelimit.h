/* ratelimit: for log lines that would be written without end. Of a lasting condition one
 * is let through, then none for a while; of lines that others write so many a second,
 * after a burst (a token bucket). */
#ifndef DIRTY_RATELIMIT_H
#define DIRTY_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* Zeroed: lets the first one through. */
typedef struct dirty_ratelimit {
    uint64_t quiet_until_ns;
} dirty_ratelimit;

/* Whether this one may pass; if so none may for the next `every_ms`. */
static inline bool dirty_ratelimit_pass(dirty_ratelimit *r, uint32_t every_ms) {
    uint64_t now_ns = dirty_now_ns();
    if (now_ns < r->quiet_until_ns)
        return false;
    r->quiet_until_ns = now_ns + every_ms * DIRTY_NS_PER_MS;
    return true;
}

/* Zeroed: full. */
typedef struct dirty_bucket {
    uint64_t filled_ns; /* when it was filled up last */
    double tokens;
    uint64_t refused; /* since the last that passed; the caller resets it */
} dirty_bucket;

/* Whether one more may pass, of `burst` at once and `per_s` a second. */
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

/* Lines that an app may log or print at once, and a second. */
#define DIRTY_APP_LINES_BURST 500
#define DIRTY_APP_LINES_PER_S 100

#endif
