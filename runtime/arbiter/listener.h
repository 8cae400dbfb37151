/* listener: accepts connections. */
#ifndef DIRTY_ARBITER_LISTENER_H
#define DIRTY_ARBITER_LISTENER_H

#include "arbiter/internal.h"

/* Accept on the supervisor's socket, or on an own one (endpoint.h). On failure logs the
 * reason, returns a negative code and leaves a->listener NULL. */
int listener_open(arbiter *a);

/* Begin to accept, if options.waits has kept listener_open from it. */
void listener_begin(arbiter *a);

/* Stop accepting and remove an own socket from the file system. Idempotent. */
void listener_close(arbiter *a);

/* Accept on `fd` from now on, after taking the callers that wait on the old socket.
 * Takes ownership of fd. */
void listener_switch(arbiter *a, int fd);

/* Check the files of an own socket and restore them (endpoint.h). */
void listener_look(arbiter *a);

/* Accept again if the descriptor limit had stopped it. Runs after a descriptor was
 * freed (MARK_ROOM). */
void listener_step(arbiter *a);

/* Returns an O_PATH descriptor of the socket's file, -1: none. */
int listener_file(const arbiter *a);

/* Returns the owner of the socket, who may use the admin calls that change things. */
uid_t listener_owner(const arbiter *a);

/* Record the new owner of the socket. */
void listener_set_owner(arbiter *a, uid_t owner);

/* Set how many connections may wait to be accepted. Returns 0, or -1 with errno. */
int listener_set_backlog(const arbiter *a, uint32_t backlog);

#endif
