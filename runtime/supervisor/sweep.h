/* sweep: end every child of this process and reap it, until there is none.
 *
 * In a process that is a child subreaper (prctl) the children of children come to it when
 * their parents end, those that left their session too. So after a sweep nothing of the
 * tree below is left. Only own children are signalled: their ids can't be anyone else's
 * before they are reaped. */
#ifndef DIRTY_SUPERVISOR_SWEEP_H
#define DIRTY_SUPERVISOR_SWEEP_H

#include <stdint.h>

/* Kill and reap all of them; what still lives after `timeout_ms` is named in the log.
 * Returns how many were there, those that ended by themselves included. */
unsigned dirty_sweep(uint32_t timeout_ms);

#endif
