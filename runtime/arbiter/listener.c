#include "arbiter/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "arbiter/session.h"
#include "base/log.h"

/* Connections accepted per wake-up, so that a flood of them does not starve requests. */
#define ACCEPT_MAX 32
/* How long accepting rests when there are no descriptors and none is freed. */
#define REST_MS 100

struct listener {
    arbiter *a;
    uv_poll_t poll;
    uv_timer_t timer; /* ends a rest */
    int open_handles;
    int fd, lock_fd;
    bool resting; /* no descriptors: the listener is not polled */
    uid_t owner;
    struct sockaddr_un address;
    char lock_path[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
};

uid_t listener_owner(const arbiter *a) {
    return a->listener != NULL ? a->listener->owner : (uid_t)-1;
}

/* -- Accepting --------------------------------------------------------------------------
 */

static void on_connection(uv_poll_t *handle, int status, int events);

static void on_rested(uv_timer_t *handle) {
    listener *l = handle->data;
    listener_resume(l->a);
}

static void rest(listener *l, int err) {
    if (!l->resting)
        dirty_log(DIRTY_LOG_WARN, "can't accept connections for now",
                  "reason=%s sessions=%u remedy=%s", DIRTY_LOG_QUOTE(strerror(err)),
                  l->a->session_count,
                  DIRTY_LOG_QUOTE("raise the limit of open files (ulimit -n)"));
    l->resting = true;
    uv_poll_stop(&l->poll);
    uv_timer_start(&l->timer, on_rested, REST_MS, 0);
}

void listener_resume(arbiter *a) {
    listener *l = a->listener;
    if (l == NULL || !l->resting)
        return;
    l->resting = false;
    uv_timer_stop(&l->timer);
    uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

static void on_connection(uv_poll_t *handle, int status, int events) {
    listener *l = handle->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_MAX; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 &&
            (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            rest(l, errno);
            return;
        }
        if (fd < 0)
            return; /* EAGAIN, or a connection that is gone again */
        int rc = session_open(l->a, fd);
        if (rc < 0) {
            rest(l, -rc);
            return;
        }
    }
}

/* -- Opening ----------------------------------------------------------------------------
 */

/* Take PATH.lock. It may be unlinked by its last owner between our open and flock: then
 * what we locked is no file any more, and we try again. */
static int lock(listener *l) {
    for (int tries = 0; tries < 10; tries++) {
        struct stat here, there;
        l->lock_fd = open(l->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (l->lock_fd < 0)
            return -errno;
        if (flock(l->lock_fd, LOCK_EX | LOCK_NB) < 0)
            return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
        if (fstat(l->lock_fd, &here) == 0 && stat(l->lock_path, &there) == 0 &&
            here.st_ino == there.st_ino && here.st_dev == there.st_dev)
            return 0;
        close(l->lock_fd);
        l->lock_fd = -1;
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

static int bind_socket(listener *l) {
    const dirty_arbiter_options *o = l->a->boot;
    const char *path = l->address.sun_path;
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return -errno;
    mode_t before = umask(0177);
    int rc = bind(l->fd, (struct sockaddr *)&l->address, sizeof l->address);
    int saved = errno;
    umask(before);
    if (rc < 0)
        return -saved;
    /* Nobody can connect before listen(): owner and mode are right from the first. */
    if ((o->socket_uid >= 0 || o->socket_gid >= 0) &&
        chown(path, (uid_t)o->socket_uid, (gid_t)o->socket_gid) < 0)
        return -errno;
    if (chmod(path, (mode_t)o->socket_mode) < 0)
        return -errno;
    l->owner = o->socket_uid >= 0 ? (uid_t)o->socket_uid : geteuid();
    return listen(l->fd, (int)o->backlog) < 0 ? -errno : 0;
}

static void explain(const listener *l, int rc) {
    const char *path = l->address.sun_path;
    const char *remedy = "";
    if (rc == -EADDRINUSE)
        remedy = "another runtime serves this socket: stop it or choose another --socket";
    else if (rc == -EEXIST)
        remedy = "the path is no socket: remove it or choose another --socket";
    else if (rc == -ENOENT)
        remedy = "create its directory or choose another --socket";
    else if (rc == -EACCES || rc == -EPERM)
        remedy = "run as a user who may write there, or choose another --socket";
    dirty_log(DIRTY_LOG_ERROR, "can't listen", "socket=%s reason=%s remedy=%s",
              DIRTY_LOG_QUOTE(path), DIRTY_LOG_QUOTE(strerror(-rc)),
              DIRTY_LOG_QUOTE(remedy));
}

static void free_listener(listener *l, bool bound) {
    if (l->fd >= 0)
        close(l->fd);
    if (bound)
        unlink(l->address.sun_path);
    if (l->lock_fd >= 0) {
        if (bound)
            unlink(l->lock_path);
        close(l->lock_fd);
    }
    free(l);
}

int listener_open(arbiter *a) {
    listener *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    bool bound = false;
    l->a = a;
    l->fd = l->lock_fd = -1;
    l->address.sun_family = AF_UNIX;
    snprintf(l->address.sun_path, sizeof l->address.sun_path, "%s", a->boot->socket_path);
    snprintf(l->lock_path, sizeof l->lock_path, "%s.lock", l->address.sun_path);
    int rc = strlen(a->boot->socket_path) < sizeof l->address.sun_path ? lock(l)
                                                                       : -ENAMETOOLONG;
    if (rc == 0)
        rc = remove_stale(l->address.sun_path);
    if (rc == 0) {
        rc = bind_socket(l);
        bound = true;
    }
    if (rc == 0)
        rc = uv_poll_init(&a->loop, &l->poll, l->fd);
    if (rc < 0) {
        explain(l, rc);
        free_listener(l, bound);
        return rc;
    }
    uv_timer_init(&a->loop, &l->timer);
    l->poll.data = l->timer.data = l;
    l->open_handles = 2;
    uv_poll_start(&l->poll, UV_READABLE, on_connection);
    a->listener = l;
    return 0;
}

static void on_closed(uv_handle_t *handle) {
    listener *l = handle->data;
    if (--l->open_handles == 0)
        free_listener(l, false);
}

void listener_close(arbiter *a) {
    listener *l = a->listener;
    if (l == NULL)
        return;
    a->listener = NULL;
    /* First the name, then the lock: who gets the lock next finds no socket of ours. */
    unlink(l->address.sun_path);
    unlink(l->lock_path);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    uv_close((uv_handle_t *)&l->timer, on_closed);
}
