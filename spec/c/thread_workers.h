/* thread_workers: workers that are threads of the arbiter's process, for tests that watch
 * what arbiter and lanes do in their shared memory.
 *
 * The program is linked with --wrap (build-aux/tests.mk), so that the real arbiter calls
 * the functions here where it would fork a worker, wait for it or signal it. Its process
 * ids are made up. Everything else is real: board, pages, channels, epoll, and the lane
 * with its Lua state. A worker has one lane.
 *
 * A thread can't be killed from outside. So a worker dies in a step (base/step.h), when
 * the hook of the test says so. Then it closes what the kernel would close. */
#ifndef DIRTY_SPEC_THREAD_WORKERS_H
#define DIRTY_SPEC_THREAD_WORKERS_H

#include <stdbool.h>

/* Set dirty_step_hook. Call it before there are other threads. `hook` is called in each
 * step of each lane; the lane dies if it returns true. */
void thread_workers_open(bool (*hook)(const char *step));

/* How many workers the arbiter has killed. */
unsigned thread_workers_killed(void);

#endif
