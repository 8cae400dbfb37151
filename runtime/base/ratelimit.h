/* ratelimit: for log lines that a lasting condition would repeat without end: one is
 * let through, then none for a while. */
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

#endif
