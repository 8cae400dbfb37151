/* grant: who may use the socket, as a reload changes it: mode and owner of its file, and
 * how many connections may wait.
 *
 * It works on the file that was bound (base/bound.h), by a descriptor, never on the path.
 * The arbiter may do less than the supervisor: a user who is not root can't give a file
 * away. */
#ifndef DIRTY_ARBITER_GRANT_H
#define DIRTY_ARBITER_GRANT_H

#include "arbiter/internal.h"

/* Make the socket what `o` says, where it is not so already. 0; or -1 with what could not
 * be done in `why`: the rest is done. */
int grant_apply(arbiter *a, const dirty_arbiter_options *o, char *why, size_t why_size);

#endif
