#include "harness.h"

/* Read by the address sanitizer, where there is one: memory that can't be had is to be
 * NULL, as in the real program, so that tests can see what comes of it. */
const char *__asan_default_options(void);

__attribute__((visibility("default"))) const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}
