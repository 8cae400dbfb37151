/* charge: the arbiter in the supervisor's charge, from its fork to its end, and when the
 * next one is due. */
#ifndef DIRTY_SUPERVISOR_ARBITER_PROCESS_H
#define DIRTY_SUPERVISOR_ARBITER_PROCESS_H

#include "supervisor/internal.h"

/* Fork a keeper and under it an arbiter. True in the arbiter's process, with *out filled;
 * false in the supervisor. A fork that fails counts as a death. */
bool arbiter_process_start(supervisor *s, dirty_supervised *out);

/* The keeper was reaped: make sure that nothing is left, then plan the next start, or be
 * done with the status of the command. What it reported must have been read. */
void arbiter_process_gone(supervisor *s, int wait_status);

/* Send it a signal, if it runs. */
void arbiter_process_signal(const supervisor *s, int number);

/* Take it to hang if it has not done what it should, so many ms from now. */
void arbiter_process_kill_after(supervisor *s, uint64_t ms);

/* It hangs: kill it. `reason` is literal text. */
void arbiter_process_kill(supervisor *s, const char *reason);

#endif
