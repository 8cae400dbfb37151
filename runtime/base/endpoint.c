#include "base/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/log.h"

/* Take PATH.lock. It may be unlinked by its last owner between our open and flock: then
 * what we locked is no file any more, and we try again. */
static int lock(dirty_endpoint *e) {
    for (int tries = 0; tries < 10; tries++) {
        struct stat here, there;
        e->lock_fd = open(e->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (e->lock_fd < 0)
            return -errno;
        if (flock(e->lock_fd, LOCK_EX | LOCK_NB) < 0)
            return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
        if (fstat(e->lock_fd, &here) == 0 && stat(e->lock_path, &there) == 0 &&
            here.st_ino == there.st_ino && here.st_dev == there.st_dev)
            return 0;
        close(e->lock_fd);
        e->lock_fd = -1;
    }
    return -EAGAIN;
}

/* With the lock held a socket that is there is a dead runtime's. Anything else stays. */
static int remove_stale(const char *path) {
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    return unlink(path) < 0 ? -errno : 0;
}

/* The file gets the mode that the socket has before bind: it never has another one, and
 * no chmod has to trust the path. */
static int bind_path(dirty_endpoint *e, uint32_t mode) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, e->path, sizeof e->path);
    e->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (e->fd < 0 || fchmod(e->fd, (mode_t)mode) < 0)
        return -errno;
    dirty_fdpass_refuse(e->fd);
    mode_t before = umask(0);
    int rc = bind(e->fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
    umask(before);
    return rc;
}

static int listen_for(dirty_endpoint *e, const dirty_endpoint_options *o) {
    if ((o->uid >= 0 || o->gid >= 0) && lchown(e->path, (uid_t)o->uid, (gid_t)o->gid) < 0)
        return -errno;
    return listen(e->fd, (int)o->backlog) < 0 ? -errno : 0;
}

static void explain(const dirty_endpoint_options *o, int rc) {
    const char *remedy = dirty_log_remedy(rc);
    if (rc == -EADDRINUSE)
        remedy = "another runtime serves this socket: stop it or choose another --socket";
    else if (rc == -EEXIST)
        remedy = "the path is no socket: remove it or choose another --socket";
    else if (rc == -ENOENT)
        remedy = "create its directory or choose another --socket";
    else if (rc == -EACCES || rc == -EPERM)
        remedy = "run as a user who may write there, or choose another --socket";
    dirty_log(DIRTY_LOG_ERROR, "can't listen", "socket=%s reason=%s remedy=%s",
              DIRTY_LOG_QUOTE(o->path), DIRTY_LOG_QUOTE(strerror(-rc)),
              DIRTY_LOG_QUOTE(remedy));
}

static void close_descriptors(dirty_endpoint *e) {
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
    dirty_endpoint_disown(e);
}

int dirty_endpoint_open(dirty_endpoint *e, const dirty_endpoint_options *o) {
    *e = (dirty_endpoint){.fd = -1, .lock_fd = -1};
    size_t len = strlen(o->path);
    int rc = len < sizeof e->path ? 0 : -ENAMETOOLONG;
    if (rc == 0) {
        memcpy(e->path, o->path, len + 1);
        snprintf(e->lock_path, sizeof e->lock_path, "%s.lock", e->path);
        rc = lock(e);
    }
    bool locked = rc == 0, bound = false;
    if (rc == 0)
        rc = remove_stale(e->path);
    if (rc == 0) {
        rc = bind_path(e, o->mode);
        bound = rc == 0;
    }
    if (rc == 0)
        rc = listen_for(e, o);
    if (rc == 0)
        return 0;
    explain(o, rc);
    if (bound)
        unlink(e->path);
    if (locked)
        unlink(e->lock_path);
    close_descriptors(e);
    return rc;
}

void dirty_endpoint_unlink(dirty_endpoint *e) {
    if (e->fd < 0 || e->path[0] == '\0')
        return;
    /* First the name, then the lock: who gets the lock next finds no socket of ours. */
    unlink(e->path);
    unlink(e->lock_path);
    e->path[0] = '\0'; /* from now on they may be another runtime's */
}

void dirty_endpoint_close(dirty_endpoint *e) {
    dirty_endpoint_unlink(e);
    close_descriptors(e);
}

void dirty_endpoint_disown(dirty_endpoint *e) {
    if (e->lock_fd >= 0)
        close(e->lock_fd);
    e->lock_fd = -1;
}
