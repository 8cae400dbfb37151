/* subreaper: the process between the supervisor and an arbiter. Its only task: when the
 * arbiter or the supervisor has ended, it kills everything that the arbiter's tree
 * started.
 *
 * A process killed by SIGKILL can't clean up. PR_SET_PDEATHSIG reaches only children, not
 * what apps have started. So the subreaper is the arbiter's parent, with
 * PR_SET_CHILD_SUBREAPER. A signal tells it when the supervisor dies. Then it sweeps. If
 * the subreaper itself is killed, PDEATHSIG ends arbiter and workers. What is left goes
 * to the supervisor, which is a subreaper too and sweeps instead.
 *
 * It passes signals on to the arbiter. Only the arbiter's parent may signal it, because
 * only the parent knows that the process id is still the arbiter's. */
#ifndef DIRTY_SUPERVISOR_SUBREAPER_H
#define DIRTY_SUPERVISOR_SUBREAPER_H

#include <signal.h>
#include <sys/types.h>

/* How long processes may take to disappear after SIGKILL. */
#define DIRTY_SWEEP_MS 5000

/* The signals that supervisor and subreaper wait for. Both have them blocked. */
void dirty_subreaper_signals(sigset_t *out);

/* Run the subreaper, in a process that the supervisor has forked for it with those
 * signals blocked. Starts a session, forks the arbiter and waits for its end. Returns
 * only in the arbiter's process, with the subreaper's pid. The subreaper exits with the
 * arbiter's exit status, with 128 + the number of the signal that ended it, or with
 * DIRTY_SUBREAPER_NO_FORK. */
pid_t dirty_subreaper_run(pid_t supervisor_pid, void (*set_title)(const char *title));

/* Larger than any exit status of an arbiter, and less than 128. */
#define DIRTY_SUBREAPER_NO_FORK 127

#endif
