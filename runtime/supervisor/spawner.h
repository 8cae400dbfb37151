/* spawner: the program that has started the runtime by dirty_spawn (base/lifeline.h). The
 * runtime reports to it how the start goes, and ends when it ends.
 *
 * There is at most one, so this is global state of the process, like the log. Without a
 * spawner every call is a no-op. */
#ifndef DIRTY_SUPERVISOR_SPAWNER_H
#define DIRTY_SUPERVISOR_SPAWNER_H

#include <poll.h>
#include <stdbool.h>

/* Detect the spawner. Call it first in main. From then on the spawner gets what is
 * written to stderr and the errors of the log, and this process ends when the spawner
 * does. Removes the variable from the environment, which apps inherit. */
void dirty_spawner_open(void);

/* Treat the supervisor that we shall succeed as the spawner: it gets the same, and HELLO
 * first. But nothing happens when it ends, see dirty_spawner_hear. */
void dirty_spawner_succeed(int channel);

/* Whether a program has started us by dirty_spawn. */
bool dirty_spawner_exists(void);

/* The next message of the supervisor that we shall succeed, a dirty_report_kind. 0: none
 * has come. -1: it has ended, or there was none. */
int dirty_spawner_hear(void);

/* Report TAKEN to that supervisor. */
void dirty_spawner_taken(void);

/* The caller watches the spawner from here on. The process no longer ends by itself. */
void dirty_spawner_watch(void);

/* Set DIRTY_SPAWNER_FDS descriptors for poll(2), -1 where there is none. */
#define DIRTY_SPAWNER_FDS 2
void dirty_spawner_poll(struct pollfd *fds);

/* Whether the spawner has ended; `fds` is poll's result. Returns true only once. */
bool dirty_spawner_is_gone(const struct pollfd *fds);

/* Report that the runtime serves at this socket. After that only its end is reported. */
void dirty_spawner_ready(const char *socket);

/* Report that this process ends. Every process may call it; only the supervisor's report
 * is sent. */
void dirty_spawner_end(int status);

/* Call inherit in a forked process that is to be an arbiter. Until the runtime serves,
 * its output then goes to the supervisor in reports, and the supervisor calls pass_on
 * with it. */
void dirty_spawner_inherit(int report_fd);
void dirty_spawner_pass_on(const char *text);

#endif
