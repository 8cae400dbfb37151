/* sweep: end every child of this process and reap it, until there is none.
 *
 * In a process that is a child subreaper (prctl) the children of children come to it when
 * their parents end, those that left their session too. So after a sweep nothing of the
 * tree below is left. Only own children are signalled: their ids can't be anyone else's
 * before they are reaped. Those that it had before there was a tree are spared. */
#ifndef DIRTY_SUPERVISOR_SWEEP_H
#define DIRTY_SUPERVISOR_SWEEP_H

#include <stdint.h>

/* The children that this process has now are not ours: no sweep ends them, or waits for
 * them. What they start and leave behind is not known from the rest. To be called before
 * anything is forked, at the most once. */
void dirty_sweep_spare(void);

/* Kill and reap all others; what still lives after `timeout_ms` is named in the log.
 * Returns how many were there, those that ended by themselves included. */
unsigned dirty_sweep(uint32_t timeout_ms);

#endif
