/* relay: forwards the output of the arbiter and everything below it to the log and to our
 * stdout and stderr, if they run as another user than we do.
 *
 * They must not have root's descriptors. With the log file's, an app could append to a
 * file that it may not open. With a terminal's, it could read what root types. So they
 * get pipes, /dev/null as stdin, and no descriptor that root's shell has left open. We
 * write what comes out of the pipes, with control characters replaced, and never block.
 *
 * Each arbiter has its own relay, opened before its fork and closed when it is gone. */
#ifndef DIRTY_SUPERVISOR_RELAY_H
#define DIRTY_SUPERVISOR_RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

/* The log, stdout, stderr. */
#define DIRTY_RELAY_PIPES 3

typedef struct dirty_relay {
    int from[DIRTY_RELAY_PIPES]; /* read ends; -1: none, or at end of input */
    int to[DIRTY_RELAY_PIPES]; /* write ends, from dirty_relay_open to dirty_relay_forked;
                                  else -1 */
    size_t line_len;
    char line[4096]; /* incomplete line of the log */
} dirty_relay;

/* Initialize without pipes. Every other call is then a no-op. */
void dirty_relay_init(dirty_relay *r);

/* Create the pipes. Returns 0, or -errno with nothing created. */
int dirty_relay_open(dirty_relay *r);

/* Call this in the new process before it drops its privileges. Its log, stdout and stderr
 * are the pipes from then on, and it has no other descriptors of ours. Returns 0 or
 * -errno; after an error the process must end. */
int dirty_relay_enter(dirty_relay *r);

/* Call this in the supervisor after the fork. */
void dirty_relay_forked(dirty_relay *r);

/* Set DIRTY_RELAY_PIPES descriptors for poll(2), -1 where there is none. */
void dirty_relay_poll(const dirty_relay *r, struct pollfd *fds);

/* Forward what is there, a limited amount per pipe, so that the others have their
 * turn. */
void dirty_relay_pass(dirty_relay *r);

/* Call this when no writer is left: forward the rest and close. */
void dirty_relay_close(dirty_relay *r);

#endif
