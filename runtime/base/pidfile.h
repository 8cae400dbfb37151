/* pidfile: a file with a process id, for people and init systems. It is never read back
 * to decide whom to signal. */
#ifndef DIRTY_PIDFILE_H
#define DIRTY_PIDFILE_H

#include <sys/types.h>

/* Write `pid` and a newline to `path`: a temporary file beside it, renamed over it, so
 * readers see the old or the new one and a planted link is not followed. 0 or -errno. */
int dirty_pidfile_write(const char *path, pid_t pid);

/* Find out whether that would work, without touching `path`. 0 or -errno. */
int dirty_pidfile_try(const char *path);

/* Remove `path` if it still holds `pid`. */
void dirty_pidfile_remove(const char *path, pid_t pid);

#endif
