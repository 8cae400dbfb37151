#include "base/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bound.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/safe_file.h"

/* How long a start waits for a process that listens without the lock. */
#define PATIENCE_MS 2000
#define PAUSE_MS 20
#define PAUSE_LAST_MS 300
/* Try to connect to another's socket at one of this many looks. */
#define TRY_EVERY 5

/* -- Files --------------------------------------------------------------------------- */

typedef enum at_path {
    OURS,
    NOTHING, /* no file has the name */
    ANOTHER,
    UNKNOWN /* the lookup failed */
} at_path;

static at_path look_at(const char *path, dev_t dev, ino_t ino) {
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? NOTHING : UNKNOWN;
    return st.st_dev == dev && st.st_ino == ino ? OURS : ANOTHER;
}

static at_path look_at_lock(const dirty_endpoint *e, int lock_fd) {
    struct stat st;
    return fstat(lock_fd, &st) < 0 ? UNKNOWN
                                   : look_at(e->lock_path, st.st_dev, st.st_ino);
}

/* -- The lock ------------------------------------------------------------------------ */

/* Lock PATH.lock. Its last holder may unlink it between our open and flock. Then the
 * locked file has no name any more, and we try again. Returns the descriptor or
 * -errno. */
static int lock(const dirty_endpoint *e) {
    for (int tries = 0; tries < 10; tries++) {
        int fd =
            dirty_safe_open(e->lock_path, O_RDWR | O_CREAT, 0600, DIRTY_SAFE_NO_LINK);
        if (fd < 0)
            return fd;
        int rc = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
        if (rc == 0 && look_at_lock(e, fd) == OURS)
            return fd;
        close(fd);
        if (rc < 0)
            return rc == -EWOULDBLOCK ? -EADDRINUSE : rc;
    }
    return -ESTALE;
}

static void unlink_lock(const dirty_endpoint *e) {
    struct stat st;
    if (e->lock_fd >= 0 && fstat(e->lock_fd, &st) == 0)
        dirty_safe_unlink(e->lock_path, st.st_dev, st.st_ino);
}

/* -- The socket ---------------------------------------------------------------------- */

static void set_address(struct sockaddr_un *address, const char *path) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, strlen(path) + 1);
}

/* Whether somebody listens at the socket at `path`: 1, 0, or -errno if that is unknown.
 * Never blocks. */
static int is_heard(const char *path) {
    struct sockaddr_un address;
    set_address(&address, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int rc = connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
    close(fd);
    switch (-rc) {
    case 0:
    case EAGAIN:               /* its backlog is full */
    case EPROTOTYPE: return 1; /* it is a socket of another type */
    case ECONNREFUSED:
    case ENOENT: return 0;
    default: return rc;
    }
}

/* Remove the socket of a dead runtime. We hold the lock, so a socket at the path is dead
 * unless somebody listens at it. Anything that is no socket stays. */
static int remove_stale(const char *path) {
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    int heard = is_heard(path);
    if (heard != 0)
        return heard < 0 ? heard : -EADDRINUSE;
    return dirty_safe_unlink(path, st.st_dev, st.st_ino);
}

/* Repeat remove_stale for up to `ms`. The pauses grow, because a listener sees every
 * attempt as a connection. */
static int remove_stale_within(const char *path, uint32_t ms) {
    struct timespec pause = {.tv_nsec = (long)(PAUSE_MS * DIRTY_NS_PER_MS)};
    uint64_t until_ns = dirty_now_ns() + ms * DIRTY_NS_PER_MS;
    int rc;
    while ((rc = remove_stale(path)) == -EADDRINUSE && dirty_now_ns() < until_ns) {
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < (long)(PAUSE_LAST_MS * DIRTY_NS_PER_MS))
            pause.tv_nsec *= 2;
    }
    return rc;
}

static void close_socket(dirty_endpoint *e) {
    if (e->fd >= 0)
        close(e->fd);
    if (e->file_fd >= 0)
        close(e->file_fd);
    e->fd = e->file_fd = -1;
}

/* Bind a new socket at the path, where no file may be. Returns 0 with e->fd set, or
 * -errno with nothing left behind. */
static int listen_at_path(dirty_endpoint *e) {
    dirty_bound bound = {.file_fd = -1};
    e->file_fd = -1;
    e->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (e->fd < 0)
        return -errno;
    dirty_fdpass_refuse(e->fd);
    /* bind gives the file the mode of the socket. Set it first, so that the file never
     * has another one. */
    int rc = fchmod(e->fd, (mode_t)e->as.mode) < 0 ? -errno : 0;
    if (rc == 0)
        rc = dirty_bound_make(&bound, e->fd, e->path, e->as.uid, e->as.gid);
    e->file_fd = bound.file_fd;
    e->dev = bound.dev;
    e->ino = bound.ino;
    e->refused = bound.refused;
    if (rc == 0 && listen(e->fd, (int)e->as.backlog) < 0) {
        rc = -errno;
        dirty_safe_unlink(e->path, e->dev, e->ino);
    }
    if (rc < 0)
        close_socket(e);
    return rc;
}

/* -- Life cycle ---------------------------------------------------------------------- */

/* Log which user or group the socket can't be given to, and why. Looks up names, which
 * may block: call it only at start. */
static void explain_refusal(const dirty_endpoint_options *o) {
    char reason[300];
    const char *remedy;
    if (geteuid() == 0) {
        snprintf(reason, sizeof reason,
                 "root is not allowed to give it to uid %lld, gid %lld here",
                 (long long)o->uid, (long long)o->gid);
        remedy = "give root the capability CAP_CHOWN";
    } else if (o->uid >= 0 && o->uid != (int64_t)geteuid()) {
        const struct passwd *user = getpwuid((uid_t)o->uid);
        snprintf(reason, sizeof reason,
                 "socket_user = %s (uid %lld): only root can set it",
                 user != NULL ? user->pw_name : "?", (long long)o->uid);
        remedy = "start it as root, or leave socket_user out";
    } else {
        const struct group *group = getgrgid((gid_t)o->gid);
        snprintf(reason, sizeof reason,
                 "socket_group = %s (gid %lld): this user (uid %u) is not a member of it",
                 group != NULL ? group->gr_name : "?", (long long)o->gid,
                 (unsigned)geteuid());
        remedy = "join that group, start it as root, or leave socket_group out";
    }
    dirty_log(DIRTY_LOG_ERROR, "can't set the owner of the socket",
              "socket=%s reason=%s remedy=%s", DIRTY_LOG_QUOTE(o->path),
              DIRTY_LOG_QUOTE(reason), DIRTY_LOG_QUOTE(remedy));
}

static void explain(const dirty_endpoint *e, const dirty_endpoint_options *o, int rc) {
    char room[sizeof e->lock_path + 80];
    const char *remedy = dirty_log_remedy(rc);
    if (rc == -EADDRINUSE)
        remedy = "another runtime serves this socket: stop it or choose another --socket";
    else if (rc == -EEXIST)
        remedy = "the path is not a socket: remove it or choose another --socket";
    else if (rc == -ENOENT)
        remedy = "create its directory or choose another --socket";
    else if (rc == -EACCES || rc == -EPERM)
        remedy = "run as a user who can write there, or choose another --socket";
    else if (rc == -ESTALE)
        remedy = "find out who changes its directory, or choose another --socket";
    else if (rc == -DIRTY_SAFE_OWNER || rc == -DIRTY_SAFE_KIND ||
             rc == -DIRTY_SAFE_LINK || rc == -DIRTY_SAFE_NAMES) {
        snprintf(room, sizeof room, "remove the file %s, or choose another --socket",
                 e->lock_path);
        remedy = room;
    }
    dirty_log(DIRTY_LOG_ERROR, "can't listen", "socket=%s reason=%s remedy=%s",
              DIRTY_LOG_QUOTE(o->path), DIRTY_LOG_QUOTE(dirty_safe_reason(rc)),
              DIRTY_LOG_QUOTE(remedy));
}

int dirty_endpoint_open(dirty_endpoint *e, const dirty_endpoint_options *o) {
    *e = (dirty_endpoint){.fd = -1, .file_fd = -1, .lock_fd = -1, .as = *o};
    e->as.path = NULL;
    size_t len = strlen(o->path);
    int rc = len < sizeof e->path ? 0 : -ENAMETOOLONG;
    if (rc == 0) {
        memcpy(e->path, o->path, len + 1);
        snprintf(e->lock_path, sizeof e->lock_path, "%s.lock", e->path);
        rc = e->lock_fd = lock(e);
    }
    if (rc >= 0)
        rc = remove_stale_within(e->path, PATIENCE_MS);
    if (rc == 0)
        rc = listen_at_path(e);
    if (rc == 0)
        return 0;
    if (e->refused)
        explain_refusal(o);
    else
        explain(e, o, rc);
    unlink_lock(e);
    dirty_endpoint_disown(e);
    e->path[0] = '\0';
    return rc;
}

/* Is `fd` a listening stream socket of the file system? Returns 0 or -errno. */
static int check_given(int fd) {
    struct sockaddr_un address = {.sun_family = AF_UNSPEC};
    int type = 0, listens = 0;
    socklen_t len = sizeof address, type_len = sizeof type, listens_len = sizeof listens;
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_len) < 0)
        return -errno;
    return address.sun_family == AF_UNIX && type == SOCK_STREAM && listens ? 0
                                                                           : -EPROTOTYPE;
}

/* Find the file of the given socket, at the path unless the giver has passed it. */
static int find_file(dirty_endpoint *e) {
    struct stat st;
    if (e->file_fd < 0)
        e->file_fd = open(e->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (e->file_fd < 0 || fstat(e->file_fd, &st) < 0)
        return -errno;
    e->dev = st.st_dev;
    e->ino = st.st_ino;
    return S_ISSOCK(st.st_mode) ? 0 : -ENOTSOCK;
}

int dirty_endpoint_adopt(dirty_endpoint *e, const dirty_endpoint_options *o, int fd,
                         int file_fd, int lock_fd) {
    *e = (dirty_endpoint){
        .fd = fd, .file_fd = file_fd, .lock_fd = lock_fd, .as = *o, .lent = true};
    e->as.path = NULL;
    int rc = strlen(o->path) < sizeof e->path ? check_given(fd) : -ENAMETOOLONG;
    if (rc == 0) {
        snprintf(e->path, sizeof e->path, "%s", o->path);
        snprintf(e->lock_path, sizeof e->lock_path, "%s.lock", e->path);
        rc = find_file(e);
    }
    if (rc == 0 && look_at(e->path, e->dev, e->ino) != OURS)
        rc = -ESTALE;
    if (rc == 0) {
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        dirty_fdpass_refuse(fd);
        return 0;
    }
    dirty_log(DIRTY_LOG_ERROR, "can't listen at the socket that was passed",
              "socket=%s reason=%s", DIRTY_LOG_QUOTE(o->path),
              DIRTY_LOG_QUOTE(rc == -EPROTOTYPE
                                  ? "it is no unix stream socket that listens"
                              : rc == -ESTALE ? "another file is at its path"
                                              : strerror(-rc)));
    close_socket(e);
    dirty_endpoint_disown(e);
    e->path[0] = '\0';
    return rc;
}

void dirty_endpoint_unlink(dirty_endpoint *e) {
    if (e->fd < 0 || e->path[0] == '\0' || e->lent)
        return;
    /* Remove the socket before the lock: the next holder of the lock must find no socket
     * of ours. */
    dirty_safe_unlink(e->path, e->dev, e->ino);
    unlink_lock(e);
    e->path[0] = '\0'; /* the files may belong to another runtime from now on */
}

void dirty_endpoint_close(dirty_endpoint *e) {
    dirty_endpoint_unlink(e);
    close_socket(e);
    dirty_endpoint_disown(e);
}

void dirty_endpoint_disown(dirty_endpoint *e) {
    if (e->lock_fd >= 0)
        close(e->lock_fd);
    e->lock_fd = -1;
}

/* -- Periodic check ------------------------------------------------------------------ */

/* Record what is wrong now ("" for nothing), and log it if it has changed. */
static void set_trouble(dirty_endpoint *e, const char *trouble) {
    if (strcmp(e->trouble, trouble) == 0)
        return;
    snprintf(e->trouble, sizeof e->trouble, "%s", trouble);
    if (trouble[0] != '\0')
        dirty_log(DIRTY_LOG_ERROR, "something is wrong with the socket's files",
                  "socket=%s reason=%s", DIRTY_LOG_QUOTE(e->path),
                  DIRTY_LOG_QUOTE(trouble));
    else
        dirty_log(DIRTY_LOG_INFO, "the socket's files are in order again", "socket=%s",
                  DIRTY_LOG_QUOTE(e->path));
}

/* Take the lock again after its file was removed or replaced. */
static bool lock_again(dirty_endpoint *e, char *why, size_t why_size) {
    int fd = lock(e);
    if (fd == -EADDRINUSE) {
        snprintf(why, why_size, "another runtime has taken the lock %s", e->lock_path);
        return false;
    }
    if (fd < 0) {
        snprintf(why, why_size,
                 "the lock %s was removed or replaced, and can't be taken again: %s",
                 e->lock_path, dirty_safe_reason(fd));
        return false;
    }
    dirty_endpoint_disown(e);
    e->lock_fd = fd;
    dirty_log(DIRTY_LOG_WARN,
              "the lock of the socket was removed or replaced: took it again", "lock=%s",
              DIRTY_LOG_QUOTE(e->lock_path));
    return true;
}

/* Whether the other file at the path is a socket at which nobody listens. Not tried at
 * the first look, because its owner may have bound it just before. Not tried at every
 * look, because a listener sees each attempt as a connection. */
static bool is_abandoned(dirty_endpoint *e) {
    struct stat st;
    if (++e->strange_looks % TRY_EVERY != 2)
        return false;
    return lstat(e->path, &st) == 0 && S_ISSOCK(st.st_mode) && is_heard(e->path) == 0;
}

/* Use the socket's current mode and owner from now on, not those of the start. */
static void take_over(dirty_endpoint *e) {
    struct stat st;
    if (fstat(e->file_fd, &st) < 0)
        return;
    e->as.mode = st.st_mode & 07777;
    e->as.uid = st.st_uid;
    e->as.gid = st.st_gid;
}

static bool bind_again(dirty_endpoint *e, int *former) {
    dirty_endpoint before = *e;
    int rc = remove_stale(e->path);
    take_over(e);
    if (rc == 0)
        rc = listen_at_path(e);
    if (rc == 0) {
        *former = before.fd;
        close(before.file_fd);
        e->strange_looks = 0;
        dirty_log(DIRTY_LOG_WARN,
                  "the socket's file was removed or replaced: bound it again",
                  "socket=%s", DIRTY_LOG_QUOTE(e->path));
        set_trouble(e, "");
        return true;
    }
    char why[sizeof e->trouble];
    *e = before;
    snprintf(why, sizeof why, "its file is gone, and can't be created again: %s",
             dirty_safe_reason(rc));
    set_trouble(e, why);
    return false;
}

bool dirty_endpoint_look(dirty_endpoint *e, int *former) {
    char why[sizeof e->trouble] = "";
    if (e->fd < 0 || e->path[0] == '\0')
        return false;
    at_path found = look_at(e->path, e->dev, e->ino);
    if (e->lent) {
        set_trouble(e, found == OURS ? ""
                                     : "its file was removed or replaced, and belongs to "
                                       "the service manager: restart its socket unit");
        return false;
    }
    bool locked = look_at_lock(e, e->lock_fd) == OURS || lock_again(e, why, sizeof why);
    if (found == OURS) {
        e->strange_looks = 0;
        set_trouble(e, why);
        return false;
    }
    if (found == ANOTHER && !(locked && is_abandoned(e)))
        set_trouble(
            e, locked
                   ? "another file is at its path: new callers can't reach this runtime"
                   : "another runtime has taken its path: new callers reach that one");
    else if (found == UNKNOWN || !locked)
        set_trouble(e, locked ? "its path can't be looked up" : why);
    else
        return bind_again(e, former);
    return false;
}
