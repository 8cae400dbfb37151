/* harness: what every C test includes before anything else. cmocka wants these four
 * headers first. The bounded random numbers are for tests that try garbage: the seed is
 * printed, and DIRTY_SEED=n repeats a run. */
#ifndef DIRTY_SPEC_HARNESS_H
#define DIRTY_SPEC_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline uint64_t harness_seed(void) {
    const char *given = getenv("DIRTY_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("seed: DIRTY_SEED=%llu\n", (unsigned long long)seed);
    return seed | 1; /* xorshift stands still at 0 */
}

/* Run only the tests that DIRTY_TEST names, if it is set: a pattern with * and ?. */
static inline void harness_choose_tests(void) {
    const char *only = getenv("DIRTY_TEST");
    if (only != NULL)
        cmocka_set_test_filter(only);
}

static inline uint32_t harness_random(uint64_t *seed, uint32_t below) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)((*seed >> 16) % below);
}

#endif
