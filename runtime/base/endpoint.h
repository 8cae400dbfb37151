/* endpoint: a listening unix socket at a path, and the lock file PATH.lock that keeps a
 * second runtime from taking the path for a dead one's.
 *
 * Both files are made and removed as base/safe_file.h says: with the rights of whoever
 * has a hand in their directory. Only files that are ours are removed, known by device
 * and inode, whose numbers are nobody else's while we have them open. Somebody may remove
 * them or put others in their place (a cleaner of /tmp, a second runtime): so whoever
 * has the endpoint looks now and then. */
#ifndef DIRTY_ENDPOINT_H
#define DIRTY_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#define DIRTY_SOCKET_PATH_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)
#define DIRTY_ENDPOINT_TROUBLE_SIZE 256

typedef struct dirty_endpoint_options {
    const char *path; /* borrowed for the call */
    uint32_t mode;    /* permission bits */
    int64_t uid, gid; /* of the socket, -1: leave */
    uint32_t backlog; /* of listen(2) */
} dirty_endpoint_options;

typedef struct dirty_endpoint {
    int fd;      /* listening, non-blocking, close-on-exec; -1: closed */
    int file_fd; /* the socket's file, by O_PATH; -1: closed */
    int lock_fd; /* -1: closed */
    char path[DIRTY_SOCKET_PATH_SIZE]; /* "": given up */
    char lock_path[DIRTY_SOCKET_PATH_SIZE + 8];
    dirty_endpoint_options as; /* to bind again; its path is not used */
    dev_t dev;                 /* of the socket's file */
    ino_t ino;
    bool refused;           /* it can't be given to `as`: this process may not do that */
    unsigned strange_looks; /* since another socket is at the path */
    char trouble[DIRTY_ENDPOINT_TROUBLE_SIZE]; /* what is wrong with the files, "":
                                                  nothing */
} dirty_endpoint;

/* Take the lock, remove a dead runtime's socket, bind, set owner and mode, listen. Nobody
 * can connect before all of that is right. A socket at which somebody listens without the
 * lock is waited for a moment (2 s), as it may be the last of a runtime that was killed.
 * 0, or a negative code of base/safe_file.h with the reason in the log and nothing left
 * behind: -EADDRINUSE where another runtime has it. Changes the umask for a moment: for
 * processes of one thread. */
int dirty_endpoint_open(dirty_endpoint *e, const dirty_endpoint_options *o);

/* Look whether the files are there and ours. What was removed is made again, with the
 * mode and the owner that it had, unless somebody else has taken the path or the lock;
 * changes are said in the log, and e->trouble has what is wrong. Never waits. True: e->fd
 * and e->file_fd are of another socket now, and *former is the one before, which the
 * caller has to close. */
bool dirty_endpoint_look(dirty_endpoint *e, int *former);

/* Remove the socket and the lock from the file system, so that another runtime can have
 * the path; nothing is closed. Idempotent. */
void dirty_endpoint_unlink(dirty_endpoint *e);

/* Remove the socket and the lock from the file system and close both. Connections that
 * nobody accepted are ended, unless another process has the socket too. Idempotent. */
void dirty_endpoint_close(dirty_endpoint *e);

/* In a forked process that has no part in the lock: close its descriptor here. */
void dirty_endpoint_disown(dirty_endpoint *e);

#endif
