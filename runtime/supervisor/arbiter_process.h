/* arbiter_process: the supervisor's arbiter, from its fork to its end, and the time of
 * the next start. */
#ifndef DIRTY_SUPERVISOR_ARBITER_PROCESS_H
#define DIRTY_SUPERVISOR_ARBITER_PROCESS_H

#include "supervisor/internal.h"

/* Fork a subreaper and, below it, an arbiter. Returns true in the arbiter's process, with
 * *out set; false in the supervisor. A failed fork counts as a death. */
bool arbiter_process_start(supervisor *s, dirty_supervised *out);

/* Call this when the subreaper was reaped and all reports were read. Kills what is left,
 * then plans the next start, or sets the exit status of the command and s->done. */
void arbiter_process_gone(supervisor *s, int wait_status);

/* Send it a signal, if it runs. */
void arbiter_process_signal(const supervisor *s, int number);

/* Kill the arbiter as hung after `ms` without progress. */
void arbiter_process_kill_after(supervisor *s, uint64_t ms);

/* Kill the arbiter, because it hangs. `reason` is static text for last_exit. */
void arbiter_process_kill(supervisor *s, const char *reason);

#endif
