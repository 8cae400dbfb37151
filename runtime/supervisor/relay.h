/* relay: what the arbiter and everything below it say, on its way to the log and to our
 * stdout and stderr, where they are another user than we are.
 *
 * Root's descriptors are not for them: by a log file's an app could append to a file that
 * it may not open, by a terminal's it could read what root types. So they get pipes, and
 * /dev/null to read from, and nothing that root's shell has left open. We write what
 * comes out of those, with control characters made harmless, and never wait to do so.
 *
 * Of one arbiter each: made before its fork, ended when it is gone. */
#ifndef DIRTY_SUPERVISOR_RELAY_H
#define DIRTY_SUPERVISOR_RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

/* The log, stdout, stderr. */
#define DIRTY_RELAY_PIPES 3

typedef struct dirty_relay {
    int from[DIRTY_RELAY_PIPES]; /* to read; -1: none, or at its end */
    int to[DIRTY_RELAY_PIPES];   /* to write, between the two calls below; else -1 */
    size_t line_len;
    char line[4096]; /* of the log, not yet whole */
} dirty_relay;

/* Without pipes every other call does nothing. */
void dirty_relay_init(dirty_relay *r);

/* Make the pipes. 0, or -errno with nothing made. */
int dirty_relay_open(dirty_relay *r);

/* In the new process, before it gives up its rights: it speaks by the pipes from now on,
 * and has nothing else of ours to speak by. 0 or -errno: it must end then. */
int dirty_relay_enter(dirty_relay *r);

/* In the supervisor, after the fork. */
void dirty_relay_forked(dirty_relay *r);

/* DIRTY_RELAY_PIPES descriptors for poll(2), -1 where there are none. */
void dirty_relay_poll(const dirty_relay *r, struct pollfd *fds);

/* Pass on what is there, of each pipe at most so much that others have their turn. */
void dirty_relay_pass(dirty_relay *r);

/* Nobody is left who writes: pass the rest on, and close. */
void dirty_relay_close(dirty_relay *r);

#endif
