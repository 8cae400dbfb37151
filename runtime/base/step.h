/* step: where a lane stands on the way of a request, for tests.
 *
 * Tests stop or kill a lane between two steps, to see that no request is lost there. In a
 * running system the hook is NULL. The steps of a request, in their order:
 *
 *   woken claimed announced taken received        of a shared connection only
 *   running writing answered                      of every request
 *   released                                      of a shared connection only
 *   counted                                       of every request
 *   unsaid                                        of one that the arbiter waits for
 *   idle                                          of every request */
#ifndef DIRTY_STEP_H
#define DIRTY_STEP_H

#include <stddef.h>

extern void (*dirty_step_hook)(const char *name);

static inline void dirty_step(const char *name) {
    if (__builtin_expect(dirty_step_hook != NULL, 0))
        dirty_step_hook(name);
}

#endif
