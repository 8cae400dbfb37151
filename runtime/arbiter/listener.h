/* listener: the accepting of connections. */
#ifndef DIRTY_ARBITER_LISTENER_H
#define DIRTY_ARBITER_LISTENER_H

#include "arbiter/internal.h"

/* Accept on the socket that the supervisor opened, or on one of our own (endpoint.h). On
 * failure says why in the log and returns a negative code; a->listener is NULL. */
int listener_open(arbiter *a);

/* Stop accepting, and remove a socket of our own from the file system. Idempotent. */
void listener_close(arbiter *a);

/* Accept on this socket from now on, and take whoever waits at the one before. Owns fd.
 */
void listener_switch(arbiter *a, int fd);

/* Where the socket is our own, see to it that its files are (endpoint.h). */
void listener_look(arbiter *a);

/* A descriptor was freed (arbiter.room_freed): accept again if the limit had stopped it.
 */
void listener_step(arbiter *a);

/* The file of a socket of our own, by O_PATH; -1: there is none. */
int listener_file(const arbiter *a);

/* The user who owns the socket, for the right to change things. */
uid_t listener_owner(const arbiter *a);

/* The socket has another owner now. */
void listener_set_owner(arbiter *a, uid_t owner);

/* How many connections may wait to be accepted. 0 or -1 with errno. */
int listener_set_backlog(const arbiter *a, uint32_t backlog);

#endif
