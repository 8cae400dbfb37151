#include "bench/histogram.h"

#include <string.h>

void bench_histogram_reset(bench_histogram *h) {
    memset(h, 0, sizeof *h);
    h->min_ns = UINT64_MAX;
}

/* Values under STEPS have a bucket each; above, each power of two has STEPS of them. */
static unsigned bucket_of(uint64_t ns) {
    if (ns < BENCH_HISTOGRAM_STEPS)
        return (unsigned)ns;
    unsigned power = 63u - (unsigned)__builtin_clzll(ns) - 5;
    return power * BENCH_HISTOGRAM_STEPS + (unsigned)(ns >> power);
}

static uint64_t middle_of(unsigned bucket) {
    if (bucket < 2 * BENCH_HISTOGRAM_STEPS)
        return bucket;
    unsigned power = bucket / BENCH_HISTOGRAM_STEPS - 1;
    uint64_t low = (uint64_t)(bucket % BENCH_HISTOGRAM_STEPS + BENCH_HISTOGRAM_STEPS)
                   << power;
    return low + (1ull << power) / 2;
}

void bench_histogram_add(bench_histogram *h, uint64_t ns) {
    h->count++;
    h->buckets[bucket_of(ns)]++;
    if (ns < h->min_ns)
        h->min_ns = ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

uint64_t bench_histogram_at(const bench_histogram *h, double share) {
    uint64_t wanted = (uint64_t)(share * (double)h->count), seen = 0;
    for (unsigned i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > wanted || (seen > 0 && seen == h->count))
            return middle_of(i) < h->max_ns ? middle_of(i) : h->max_ns;
    }
    return 0;
}
