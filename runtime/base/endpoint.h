/* endpoint: a listening unix socket at a path, and the lock file PATH.lock that keeps a
 * second runtime from taking the path for a dead one's. */
#ifndef DIRTY_ENDPOINT_H
#define DIRTY_ENDPOINT_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#define DIRTY_SOCKET_PATH_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)

typedef struct dirty_endpoint_options {
    const char *path; /* borrowed for the call */
    uint32_t mode;    /* permission bits */
    int64_t uid, gid; /* of the socket, -1: leave */
    uint32_t backlog; /* of listen(2) */
} dirty_endpoint_options;

typedef struct dirty_endpoint {
    int fd;      /* listening, non-blocking, close-on-exec; -1: closed */
    int lock_fd; /* -1: closed */
    char path[DIRTY_SOCKET_PATH_SIZE];
    char lock_path[DIRTY_SOCKET_PATH_SIZE + 8];
} dirty_endpoint;

/* Take the lock, remove a dead runtime's socket, bind, set owner and mode, listen. Nobody
 * can connect before all of that is right. 0, or -errno with the reason in the log and
 * nothing left behind: -EADDRINUSE where another runtime has it. Changes the umask for a
 * moment: for processes of one thread. */
int dirty_endpoint_open(dirty_endpoint *e, const dirty_endpoint_options *o);

/* Remove the socket and the lock from the file system, so that another runtime can have
 * the path; nothing is closed. Idempotent. */
void dirty_endpoint_unlink(dirty_endpoint *e);

/* Remove the socket and the lock from the file system and close both. Connections that
 * nobody accepted are ended, unless another process has the socket too. Idempotent. */
void dirty_endpoint_close(dirty_endpoint *e);

/* In a forked process that has no part in the lock: close its descriptor here. */
void dirty_endpoint_disown(dirty_endpoint *e);

#endif
