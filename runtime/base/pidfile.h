/* pidfile: a file with a process id, for people and init systems. It is never read back
 * to decide whom to signal. It is made and removed as base/safe_file.h says: with the
 * rights of whoever has a hand in its directory. */
#ifndef DIRTY_PIDFILE_H
#define DIRTY_PIDFILE_H

#include <sys/types.h>

/* The file that was written; by this it is told from another one of its name. */
typedef struct dirty_pidfile {
    dev_t dev;
    ino_t ino; /* 0: none was */
} dirty_pidfile;

/* Write `pid` and a newline to `path`: a temporary file beside it, renamed over it, so
 * readers see the old or the new one and a planted link is not followed. 0 and *out, or
 * a negative code of base/safe_file.h. */
int dirty_pidfile_write(dirty_pidfile *out, const char *path, pid_t pid);

/* Find out whether that would work, without touching `path`. 0 or a negative code. */
int dirty_pidfile_try(const char *path);

/* Remove `path` if it is the file that was written, and still holds `pid`. */
void dirty_pidfile_remove(const dirty_pidfile *p, const char *path, pid_t pid);

#endif
