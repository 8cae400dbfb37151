/* owner: the program that has started the runtime by dirty_spawn and keeps it as its own
 * (base/lifeline.h). The runtime tells it how the start goes, and ends when it ends.
 *
 * There is at most one, so this is state of the process, as the log is. Without an owner
 * nothing here does anything. */
#ifndef DIRTY_SUPERVISOR_SPAWNER_H
#define DIRTY_SUPERVISOR_SPAWNER_H

#include <poll.h>
#include <stdbool.h>

/* See whether there is one; to be called first of all in main. From then on it hears what
 * is written to stderr and the errors of the log, and the process ends with it. The
 * variable is taken out of the environment, which apps inherit. */
void dirty_spawner_open(void);

/* From here on the caller watches it: the process does not end by itself any more. */
void dirty_spawner_watch(void);

/* Descriptors for poll(2), -1 where there are none, and what poll says of them. */
#define DIRTY_SPAWNER_FDS 2
void dirty_spawner_poll(struct pollfd *fds);

/* It was there and is gone. True only once. */
bool dirty_spawner_is_gone(const struct pollfd *fds);

/* Say that the runtime serves at this socket; from then on nothing is said but its end.
 */
void dirty_spawner_ready(const char *socket);

/* Say that this process ends; to be called in all, only the supervisor is heard. */
void dirty_spawner_end(int status);

/* In a forked process that is to be an arbiter: what it says while the runtime starts
 * goes to the supervisor by its reports, for dirty_spawner_pass_on. */
void dirty_spawner_inherit(int report_fd);
void dirty_spawner_pass_on(const char *text);

#endif
