/* pidfile: a file with a process id, for people and init systems. The runtime never reads
 * it to decide whom to signal. It is created and removed by the rules of
 * base/safe_file.h: with the credentials of the user who can change its directory. */
#ifndef DIRTY_PIDFILE_H
#define DIRTY_PIDFILE_H

#include <sys/types.h>

/* Identity of the written file, to tell it from a later one of the same name. */
typedef struct dirty_pidfile {
    dev_t dev;
    ino_t ino; /* 0: not written */
} dirty_pidfile;

/* Write `pid` and a newline to `path`. It writes a temporary file beside it and renames
 * that over `path`: readers see the old or the new file, and a planted link is not
 * followed. Returns 0 with *out set, or a negative code of base/safe_file.h. */
int dirty_pidfile_write(dirty_pidfile *out, const char *path, pid_t pid);

/* Check whether dirty_pidfile_write would work, without touching `path`. Returns 0 or a
 * negative code. */
int dirty_pidfile_try(const char *path);

/* Remove `path` if it is the written file and still holds `pid`. */
void dirty_pidfile_remove(const dirty_pidfile *p, const char *path, pid_t pid);

#endif
