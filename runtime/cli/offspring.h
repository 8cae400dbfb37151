/* offspring: the child processes that the main thread has started since it noted those
 * there were. There is one note at a time; without /proc/PID/task/TID/children there are
 * none. */
#ifndef DIRTY_CLI_OFFSPRING_H
#define DIRTY_CLI_OFFSPRING_H

/* Note the children there are. */
void dirty_offspring_note(void);

/* Kill those that are not in the note; they are not reaped. May be called by a signal
 * handler between note and forget. */
void dirty_offspring_kill(void);

/* Give the note's memory back. */
void dirty_offspring_forget(void);

#endif
