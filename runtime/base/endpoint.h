/* endpoint: a listening unix socket at a path, and its lock file PATH.lock. The lock
 * keeps a second runtime from replacing the socket of a running one.
 *
 * Both files are created and removed by the rules of base/safe_file.h: with the
 * credentials of the user who can change their directory. Only our own files are removed.
 * They are known by device and inode, and the kernel does not reuse these while the files
 * are open. A cleaner of /tmp or a second runtime may remove or replace the files. So the
 * holder of an endpoint calls dirty_endpoint_look from time to time.
 *
 * An endpoint can be lent: another process has made the socket and removes its files, a
 * service manager or the supervisor that we are to succeed. Then the files are only
 * checked. */
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
    int64_t uid, gid; /* owner and group of the socket; -1: leave */
    uint32_t backlog; /* of listen(2) */
} dirty_endpoint_options;

typedef struct dirty_endpoint {
    int fd;      /* listening, non-blocking, close-on-exec; -1: closed */
    int file_fd; /* the socket's file, O_PATH; -1: closed */
    int lock_fd; /* -1: closed */
    char path[DIRTY_SOCKET_PATH_SIZE]; /* "": unlinked */
    char lock_path[DIRTY_SOCKET_PATH_SIZE + 8];
    dirty_endpoint_options as; /* options to bind again with; `path` is not used */
    dev_t dev;                 /* of the socket's file */
    ino_t ino;
    bool lent;
    bool refused;           /* this process may not set the owner or group of `as` */
    unsigned strange_looks; /* looks since another file is at the path */
    char trouble[DIRTY_ENDPOINT_TROUBLE_SIZE]; /* what is wrong with the files; "":
                                                  nothing */
} dirty_endpoint;

/* Take the lock, remove the socket of a dead runtime, bind, set owner and mode, listen.
 * Nobody can connect before all of that is done. If somebody listens at the socket
 * without holding the lock, wait up to 2 s: it may be the last process of a killed
 * runtime. Returns 0, or a negative code of base/safe_file.h. On error the reason is
 * logged and no file is left behind. -EADDRINUSE: another runtime has the socket. Changes
 * the umask for a moment: call it only while the process has one thread. */
int dirty_endpoint_open(dirty_endpoint *e, const dirty_endpoint_options *o);

/* Use a listening socket that this process was given, as a lent endpoint. Of the options,
 * only the path is used: the socket must be there. `file_fd` (O_PATH) and `lock_fd` are
 * -1 if unknown. Takes ownership of the descriptors. Returns 0, or -errno after logging
 * the reason and closing them. */
int dirty_endpoint_adopt(dirty_endpoint *e, const dirty_endpoint_options *o, int fd,
                         int file_fd, int lock_fd);

/* Check that both files exist and are ours. A removed file is created again with its
 * former mode and owner, unless somebody else has taken the path or the lock. Logs every
 * change; e->trouble says what is wrong. The files of a lent endpoint are not created.
 * Never blocks. True: e->fd and e->file_fd belong
 * to a new socket, and *former is the old one, which the caller must close. */
bool dirty_endpoint_look(dirty_endpoint *e, int *former);

/* Remove the socket and the lock from the file system, so that another runtime can use
 * the path, unless the endpoint is lent. Closes nothing. Idempotent. */
void dirty_endpoint_unlink(dirty_endpoint *e);

/* Remove the socket and the lock from the file system and close both. Connections that
 * nobody accepted are closed, unless another process has the socket too. Idempotent. */
void dirty_endpoint_close(dirty_endpoint *e);

/* Close the descriptor of the lock, in a forked process that must not hold it. */
void dirty_endpoint_disown(dirty_endpoint *e);

#endif
