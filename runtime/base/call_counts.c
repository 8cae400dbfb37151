#include "base/call_counts.h"

#include <string.h>
#include <sys/mman.h>

const double dirty_histogram_bounds_s[DIRTY_HISTOGRAM_BUCKETS] = {
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1,    0.25,   0.5,   1,      2.5,   10,   30,    120};

size_t dirty_call_counts_bytes(uint32_t app_count) {
    return sizeof(dirty_call_counts) +
           (DIRTY_COUNTS_ACTIONS + app_count) * sizeof(dirty_action_counts);
}

/* The kernel provides the memory of an entry when it is first used. */
dirty_call_counts *dirty_call_counts_open(uint32_t app_count) {
    void *all = mmap(NULL, dirty_call_counts_bytes(app_count), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    dirty_call_counts *counts = all;
    counts->app_count = app_count;
    return counts;
}

void dirty_call_counts_close(dirty_call_counts *counts, uint32_t app_count) {
    if (counts != NULL)
        munmap(counts, dirty_call_counts_bytes(app_count));
}

/* The arbiter reads while the lane writes. It must never see half a number. */
static void add(uint64_t *to, uint64_t n) {
    __atomic_store_n(to, *to + n, __ATOMIC_RELAXED);
}

void dirty_histogram_add(dirty_histogram *h, uint64_t ns) {
    static const uint64_t bounds_ns[DIRTY_HISTOGRAM_BUCKETS] = {
        100000,     500000,      1000000,     2500000,     5000000,   10000000,
        25000000,   50000000,    100000000,   250000000,   500000000, 1000000000,
        2500000000, 10000000000, 30000000000, 120000000000};
    int i = 0;
    while (i < DIRTY_HISTOGRAM_BUCKETS && ns > bounds_ns[i])
        i++;
    add(&h->buckets[i], 1);
    add(&h->sum_ns, ns);
    add(&h->count, 1);
}

static bool has_name(const dirty_action_counts *e, dirty_slice name) {
    return memcmp(e->action, name.base, name.len) == 0 && e->action[name.len] == '\0';
}

static dirty_action_counts *find(dirty_call_counts *counts, const dirty_call_sample *s) {
    dirty_action_counts *entries = counts->entries;
    uint32_t used = atomic_load_explicit(&counts->used, memory_order_relaxed);
    for (uint32_t i = 0; i < used && s->action.len > 0; i++)
        if (counts->apps[i] == s->app && has_name(&entries[i], s->action))
            return &entries[i];
    if (!s->resolved || s->action.len == 0 || used >= DIRTY_COUNTS_ACTIONS)
        return &entries[DIRTY_COUNTS_ACTIONS + s->app];
    memcpy(entries[used].action, s->action.base, s->action.len);
    counts->apps[used] = (uint16_t)s->app;
    atomic_store_explicit(&counts->used, used + 1, memory_order_release);
    return &entries[used];
}

void dirty_call_counts_add(dirty_call_counts *counts, const dirty_call_sample *s) {
    if (s->action.len >= DIRTY_COUNTS_NAME || s->app >= counts->app_count ||
        s->outcome >= DIRTY_COUNTS_CODES ||
        atomic_load_explicit(&counts->used, memory_order_relaxed) > DIRTY_COUNTS_ACTIONS)
        return; /* an app may have overwritten it */
    dirty_action_counts *e = find(counts, s);
    add(&e->outcomes[s->outcome], 1);
    dirty_histogram_add(&e->queue, s->queue_ns);
    if (s->run_ns > 0)
        dirty_histogram_add(&e->run, s->run_ns);
}
