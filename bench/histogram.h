/* histogram: latencies in nanoseconds, kept in buckets that are at most 1/32 wide of
 * their value, so that recording costs a few instructions and no memory. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define BENCH_HISTOGRAM_STEPS 32
#define BENCH_HISTOGRAM_BUCKETS (BENCH_HISTOGRAM_STEPS * 60)

typedef struct bench_histogram {
    uint64_t count, min_ns, max_ns;
    uint64_t buckets[BENCH_HISTOGRAM_BUCKETS];
} bench_histogram;

void bench_histogram_reset(bench_histogram *h);
void bench_histogram_add(bench_histogram *h, uint64_t ns);

/* The value that `share` (0..1) of the recorded ones do not exceed, 0 without any. */
uint64_t bench_histogram_at(const bench_histogram *h, double share);

#endif
