/* keeper: the process between the supervisor and an arbiter. It has one task: when the
 * arbiter or the supervisor has ended, nothing that the arbiter's tree started lives on.
 *
 * A parent that is killed can't clean up behind itself, and PR_SET_PDEATHSIG reaches
 * children only, not what apps started in their turn. So the keeper stands above the
 * arbiter as a child subreaper, hears of the supervisor's death by a signal of its own,
 * and sweeps. If the keeper is killed, the arbiter and the workers end by PDEATHSIG and
 * what is left comes to the supervisor, a subreaper too, which sweeps in its stead.
 *
 * It passes signals on, so that they are sent by the arbiter's parent alone, which knows
 * that the process id is still the arbiter's. */
#ifndef DIRTY_SUPERVISOR_SUBREAPER_H
#define DIRTY_SUPERVISOR_SUBREAPER_H

#include <signal.h>
#include <sys/types.h>

/* How long processes get to disappear after SIGKILL. */
#define DIRTY_SWEEP_MS 5000

/* The signals that the supervisor and the keeper wait for; both have them blocked. */
void dirty_subreaper_signals(sigset_t *out);

/* To be called in a process that the supervisor has forked for it, with those signals
 * blocked. Starts a session of its own, forks the arbiter and keeps it. Returns in the
 * arbiter's process only, with the keeper's pid; the keeper exits with the arbiter's
 * exit status, with 128 and the signal's number if one ended it, or with
 * DIRTY_SUBREAPER_NO_FORK. */
pid_t dirty_subreaper_run(pid_t supervisor_pid, void (*set_title)(const char *title));

/* Above all exit statuses of an arbiter, below 128. */
#define DIRTY_SUBREAPER_NO_FORK 127

#endif
