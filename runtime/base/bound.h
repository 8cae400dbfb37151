/* bound: the file of a unix socket, from bind on known by a descriptor.
 *
 * Who may write to the directory, or to one on the way, can put another file or another
 * directory in its place at any moment: so root never asks the path for what it has
 * bound. The kernel is asked for the file of the socket itself (Linux 4.16, with
 * CAP_NET_ADMIN). Where it does not tell, the file is looked up in the directory that was
 * found before bind, with the same rights, and given away only if it belongs to whom it
 * was made by: it may be another socket of theirs then, but no one else's. */
#ifndef DIRTY_BOUND_H
#define DIRTY_BOUND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct dirty_bound {
    int file_fd; /* O_PATH, owned by the caller; -1: none */
    dev_t dev;
    ino_t ino;
    bool refused; /* the owner or the group may not be set by this process */
} dirty_bound;

/* Bind `fd` to `path` (it fits into an address), with the mode that fd has, and give the
 * file to uid and gid (-1: whoever this process is). 0 with *out, or a negative code of
 * base/safe_file.h, with nothing left behind where that can be told. Changes the umask
 * for a moment. */
int dirty_bound_make(dirty_bound *out, int fd, const char *path, int64_t uid,
                     int64_t gid);

#endif
