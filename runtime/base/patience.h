/* patience: an end to system calls that wait, for processes that others wait for.
 *
 * Nothing in supervisor, keeper and arbiter is meant to wait (docs/blocking-calls.md).
 * What does so all the same, because somebody had a hand in a descriptor, is ended:
 * before a piece of work it is said how long that may take, and when the time is over a
 * signal (SIGALRM) ends the system call that the process is in, and again and again until
 * the work is done. Who gets EINTR then must not simply try again. What waits for a disk
 * or a file system is not ended by it.
 *
 * One per process, whose ITIMER_REAL it takes; a forked process has none. */
#ifndef DIRTY_PATIENCE_H
#define DIRTY_PATIENCE_H

#include <stdint.h>

/* The most that a piece of work may wait. */
#define DIRTY_PATIENCE_MS 2000

/* Make the process ready for it: the signal has a handler, and is not blocked. */
void dirty_patience_init(void);

/* A piece of work begins, or goes on: it may take `ms` from now. */
void dirty_patience_begin(uint32_t ms);

/* It is done. */
void dirty_patience_end(void);

#endif
