/* grant: applies a reload's changes to the socket: mode and owner of its file, and its
 * backlog.
 *
 * It works through a descriptor on the file that was bound (base/bound.h), never on the
 * path. The arbiter may have fewer rights than the supervisor: a user who is not root
 * can't give a file away. */
#ifndef DIRTY_ARBITER_GRANT_H
#define DIRTY_ARBITER_GRANT_H

#include "arbiter/internal.h"

/* Apply the socket options in `o` that differ. Returns 0, or -1 with the failed changes
 * in `why`; the others are applied. */
int grant_apply(arbiter *a, const dirty_arbiter_options *o, char *why, size_t why_size);

#endif
