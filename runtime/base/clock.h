/* clock: the only clock of the runtime, CLOCK_MONOTONIC, in nanoseconds. All processes of
 * a machine share it, so arbiter and lanes exchange deadlines as absolute values. It
 * never returns 0. As a deadline 0 means "none". */
#ifndef DIRTY_CLOCK_H
#define DIRTY_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

#define DIRTY_NS_PER_MS 1000000ull

static inline uint64_t dirty_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* The earlier of two deadlines. 0 means none. */
static inline uint64_t dirty_earlier_ns(uint64_t a_ns, uint64_t b_ns) {
    if (a_ns == 0 || b_ns == 0)
        return a_ns + b_ns;
    return a_ns < b_ns ? a_ns : b_ns;
}

/* Milliseconds from `now_ns` until `deadline_ns`, rounded up, for poll(2). -1 if the
 * deadline is 0 (none), 0 if it has passed. */
static inline int dirty_ms_until(uint64_t deadline_ns, uint64_t now_ns) {
    if (deadline_ns == 0)
        return -1;
    if (deadline_ns <= now_ns)
        return 0;
    uint64_t ms = (deadline_ns - now_ns + DIRTY_NS_PER_MS - 1) / DIRTY_NS_PER_MS;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

#endif
