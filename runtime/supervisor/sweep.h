/* sweep: kills and reaps every child of this process until none is left.
 *
 * In a child subreaper (prctl), the children of a process come to us when it ends, even
 * from other sessions. So after a sweep nothing of the tree below is left. Only own
 * children are signalled, because nobody else can have their ids before they are reaped.
 * Children that existed before the tree was started are spared. */
#ifndef DIRTY_SUPERVISOR_SWEEP_H
#define DIRTY_SUPERVISOR_SWEEP_H

#include <stdint.h>
#include <sys/types.h>

/* Spare the children that this process has now: no sweep kills them or waits for them.
 * Processes that they leave behind can't be distinguished and are not spared. Call it
 * before any fork, at most once. */
void dirty_sweep_spare(void);

/* Spare this child too, from now on. It replaces the last one; 0: none. */
void dirty_sweep_spare_also(pid_t child);

/* Kill and reap all other children. What still runs after `timeout_ms` is logged. Returns
 * how many there were, including those that ended by themselves. */
unsigned dirty_sweep(uint32_t timeout_ms);

#endif
