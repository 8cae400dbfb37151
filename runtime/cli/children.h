/* children: kills the child processes that the main thread has started since it noted its
 * children, or those from before. There is one note at a time. Without
 * /proc/PID/task/TID/children nothing is noted or killed. */
#ifndef DIRTY_CLI_CHILDREN_H
#define DIRTY_CLI_CHILDREN_H

/* Note the children that exist now. Replaces the former note. */
void dirty_started_note(void);

/* Kill those that are not in the note; they are not reaped. May be called by a signal
 * handler. */
void dirty_started_kill(void);

/* The same for those that are in it, but for those that have left our process group: the
 * runtime's own have. */
void dirty_started_kill_former(void);

#endif
