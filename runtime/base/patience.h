/* patience: limits how long a system call may block, in processes that others wait for.
 *
 * Supervisor, subreaper and arbiter are not meant to block (docs/blocking-calls.md). A
 * call may block all the same, because somebody changed a shared descriptor. So a piece
 * of work sets a time limit before it starts. After that time SIGALRM interrupts the
 * current system call, and again every 100 ms until the work is done. Code that gets
 * EINTR must not simply retry. Waits for a disk or a file system are not interrupted.
 *
 * There is one timer per process; it uses ITIMER_REAL. A forked process has none. */
#ifndef DIRTY_PATIENCE_H
#define DIRTY_PATIENCE_H

#include <stdint.h>

/* Default limit for a piece of work, in ms. */
#define DIRTY_PATIENCE_MS 2000

/* Install the signal handler and unblock the signal. */
void dirty_patience_init(void);

/* Start or extend the limit: interrupt system calls from `ms` after now. */
void dirty_patience_begin(uint32_t ms);

/* The work is done: stop the timer. */
void dirty_patience_end(void);

#endif
