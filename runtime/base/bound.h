/* bound: binds a unix socket and keeps its file by a descriptor.
 *
 * A user who can write to the directory, or to one on the path, can replace the file or a
 * directory at any moment. So root never looks up by path what it has bound. It asks the
 * kernel for the file of the socket itself (Linux 4.16, with CAP_NET_ADMIN). If the
 * kernel refuses, the file is looked up in the directory that was opened before bind,
 * with the same credentials. It is then given away only if it belongs to the user who
 * created it. In that case it may be another socket of that user, but never of anybody
 * else. */
#ifndef DIRTY_BOUND_H
#define DIRTY_BOUND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct dirty_bound {
    int file_fd; /* O_PATH; the caller closes it; -1: none */
    dev_t dev;
    ino_t ino;
    bool refused; /* this process may not set the owner or the group */
} dirty_bound;

/* Bind `fd` to `path`, which must fit into an address, and give the file to `uid` and
 * `gid` (-1: those of this process). The file gets the mode that `fd` has. Returns 0 with
 * *out set, or a negative code of base/safe_file.h. On error the new file is removed, if
 * it can be identified. Changes the umask for a moment. */
int dirty_bound_make(dirty_bound *out, int fd, const char *path, int64_t uid,
                     int64_t gid);

#endif
