#include "base/safe_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/trail.h"

/* Give up if a file changes between two looks this many times. */
#define TRIES 4
/* A group that owns nothing. */
#define NOGROUP 65534

/* The user that children run as. Global to the process, like the log. */
static struct {
    bool set;
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* owned */
    size_t group_count;
} user;

int dirty_safe_user(uid_t uid, gid_t gid, const gid_t *groups, size_t group_count) {
    gid_t *copy = malloc((group_count + 1) * sizeof *copy);
    if (copy == NULL)
        return -ENOMEM;
    if (group_count > 0)
        memcpy(copy, groups, group_count * sizeof *copy);
    free(user.groups);
    user.set = true;
    user.uid = uid;
    user.gid = gid;
    user.groups = copy;
    user.group_count = group_count;
    return 0;
}

bool dirty_safe_has_user(void) {
    return user.set && user.uid != 0 && geteuid() == 0;
}

const char *dirty_safe_reason(int rc) {
    switch (-rc) {
    case DIRTY_SAFE_LINK: return "it is a link, and links are not followed here";
    case DIRTY_SAFE_NAMES:
        return "it has a second name (a hard link), in a directory that others can write "
               "to";
    case DIRTY_SAFE_KIND: return "it is not a regular file";
    case DIRTY_SAFE_OWNER: return "it belongs to another user";
    case DIRTY_SAFE_SWITCH:
        return "its directory belongs to another user, and the runtime can't act as that "
               "user";
    case ESTALE: return "somebody keeps changing it";
    case EACCES:
        /* Root is refused only while it uses another user's credentials. */
        if (geteuid() == 0)
            return "Permission denied, acting as a user who can write to a directory on "
                   "the way";
        return strerror(EACCES);
    default: return strerror(-rc);
    }
}

/* -- Credentials --------------------------------------------------------------------- */

/* Affects this thread only; glibc's function changes all threads. */
static int set_groups(size_t count, const gid_t *groups) {
#ifdef SYS_setgroups32
    return (int)syscall(SYS_setgroups32, count, groups);
#else
    return (int)syscall(SYS_setgroups, count, groups);
#endif
}

/* Compare the current file system ids. setfsuid with an invalid id changes nothing and
 * returns the current one; there is no other way to read it. */
static bool are_ids(uid_t uid, gid_t gid) {
    return (uid_t)setfsuid((uid_t)-1) == uid && (gid_t)setfsgid((gid_t)-1) == gid;
}

static void switch_back(dirty_safe_scope *s) {
    if (!s->switched)
        return;
    s->switched = false;
    setfsuid(geteuid());
    setfsgid(getegid());
    set_groups((size_t)s->group_count, s->groups);
    /* Every change of ids resets these two. */
    if (s->dumpable == 1)
        prctl(PR_SET_DUMPABLE, 1);
    if (s->death_signal != 0)
        prctl(PR_SET_PDEATHSIG, s->death_signal);
}

static int switch_to(dirty_safe_scope *s, uid_t uid, gid_t gid, const gid_t *groups,
                     size_t group_count) {
    s->group_count = getgroups(sizeof s->groups / sizeof *s->groups, s->groups);
    prctl(PR_GET_PDEATHSIG, &s->death_signal);
    s->dumpable = prctl(PR_GET_DUMPABLE);
    if (s->group_count < 0 || set_groups(group_count, groups) < 0)
        return -DIRTY_SAFE_SWITCH;
    s->switched = true;
    setfsgid(gid);
    setfsuid(uid);
    s->uid = uid;
    if (are_ids(uid, gid))
        return 0;
    switch_back(s);
    return -DIRTY_SAFE_SWITCH;
}

/* Whether only `owner` and we can change the path to the file. */
static bool is_alone(const char *path, uid_t owner) {
    dirty_trail t;
    int rc = dirty_trail_follow_directory(&t, path, owner);
    if (t.dir_fd >= 0)
        close(t.dir_fd);
    return rc == 0 && !t.strange;
}

/* Switch root's file credentials to those of the user who can change the path. That is
 * the child user, except if the path belongs to a third user alone. We do not know the
 * groups of a third user. */
static int become(dirty_safe_scope *s, const dirty_trail *t, const char *path) {
    s->switched = false;
    s->uid = geteuid();
    if (!t->strange || geteuid() != 0)
        return 0;
    if (dirty_safe_has_user() && (t->uid == user.uid || !is_alone(path, t->uid)))
        return switch_to(s, user.uid, user.gid, user.groups, user.group_count);
    return switch_to(s, t->uid, NOGROUP, NULL, 0);
}

/* Open the directory of a path whose trail ended on the way, with the credentials of the
 * user who controls it from there on. Returns a descriptor or -errno. */
static int open_directory(const char *path) {
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash != NULL ? (size_t)(slash - path) : 0;
    if (len == 0 || len >= sizeof dir)
        return -ENOENT;
    memcpy(dir, path, len);
    dir[len] = '\0';
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int dirty_safe_enter(dirty_safe_scope *s, const char *path) {
    dirty_trail t;
    s->switched = false;
    int rc = dirty_trail_follow_directory(&t, path, geteuid());
    if (rc == 0)
        rc = become(s, &t, path);
    if (rc == 0 && t.dir_fd < 0) {
        const char *slash = strrchr(path, '/');
        snprintf(t.name, sizeof t.name, "%s", slash != NULL ? slash + 1 : path);
        rc = t.dir_fd = open_directory(path);
        if (rc < 0)
            switch_back(s);
    }
    if (rc < 0) {
        if (t.dir_fd >= 0)
            close(t.dir_fd);
        return rc;
    }
    s->dir_fd = t.dir_fd;
    s->movable = t.movable;
    memcpy(s->name, t.name, sizeof s->name);
    return 0;
}

void dirty_safe_leave(dirty_safe_scope *s) {
    switch_back(s);
    close(s->dir_fd);
    s->dir_fd = -1;
}

int dirty_safe_unlink(const char *path, dev_t dev, ino_t ino) {
    dirty_safe_scope s;
    struct stat st;
    int rc = dirty_safe_enter(&s, path);
    if (rc < 0)
        return rc;
    bool found = fstatat(s.dir_fd, s.name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                 st.st_dev == dev && st.st_ino == ino;
    if (found && unlinkat(s.dir_fd, s.name, 0) < 0 && errno != ENOENT)
        rc = -errno;
    dirty_safe_leave(&s);
    return rc;
}

/* -- Opening ------------------------------------------------------------------------- */

#define ALWAYS (O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW)

/* openat that returns -errno. */
static int open_at(int dir_fd, const char *name, int flags, mode_t mode) {
    int fd = openat(dir_fd, name, flags | ALWAYS, mode);
    return fd < 0 ? -errno : fd;
}

static bool is_same(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Open a name below /proc/PID/fd: copy the descriptor, if it is our own. */
static int copy_descriptor(const dirty_trail *t) {
    struct stat there, here;
    char *end;
    int fd = (int)strtol(t->name, &end, 10);
    if (*end != '\0' || fstatat(t->dir_fd, t->name, &there, 0) < 0 ||
        fstat(fd, &here) < 0 || !is_same(&here, &there))
        return -DIRTY_SAFE_KIND;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return fd < 0 ? -errno : fd;
}

/* Open for reading as well. Then the open does not wait for a reader, and while there is
 * no reader only data that does not fit into the pipe is lost. */
static int open_fifo(const dirty_trail *t, int flags) {
    int both = (flags & ~O_ACCMODE) | O_RDWR;
    int fd =
        (flags & O_ACCMODE) == O_WRONLY ? open_at(t->dir_fd, t->name, both, 0) : -EACCES;
    return fd == -EACCES ? open_at(t->dir_fd, t->name, flags, 0) : fd;
}

/* Open the file that the trail has found, on a path that is ours. -ESTALE: it is another
 * file by now. */
static int open_found(const dirty_trail *t, int flags, unsigned what) {
    struct stat st;
    bool devices = what & DIRTY_SAFE_DEVICES;
    if (t->is_descriptor)
        return devices ? copy_descriptor(t) : -DIRTY_SAFE_KIND;
    if (S_ISDIR(t->st.st_mode))
        return -EISDIR;
    bool fifo = S_ISFIFO(t->st.st_mode);
    if (!S_ISREG(t->st.st_mode) && !(devices && (fifo || S_ISCHR(t->st.st_mode))))
        return -DIRTY_SAFE_KIND;
    int fd = fifo ? open_fifo(t, flags) : open_at(t->dir_fd, t->name, flags, 0);
    if (fd >= 0 && (fstat(fd, &st) < 0 || !is_same(&st, &t->st))) {
        close(fd);
        fd = -ESTALE;
    }
    return fd == -ENOENT || fd == -ELOOP ? -ESTALE : fd;
}

/* Same, for a file that does not exist yet. */
static int make_file(const dirty_trail *t, int flags, mode_t mode, unsigned what) {
    if (!(flags & O_CREAT))
        return -ENOENT;
    int fd = open_at(t->dir_fd, t->name, flags | O_EXCL, mode);
    if (fd == -EEXIST)
        return -ESTALE;
    if (fd >= 0 && (what & DIRTY_SAFE_GIVE) && dirty_safe_has_user() &&
        fchown(fd, user.uid, user.gid) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

/* Check a file on a path that a stranger can change. A file of the stranger is accepted
 * only in the stranger's own directory. In a shared one a third user may have put it
 * there. */
static int check_strange(int fd, const dirty_trail *t) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -DIRTY_SAFE_KIND;
    bool known = st.st_uid == 0 || st.st_uid == geteuid() ||
                 (dirty_safe_has_user() && st.st_uid == user.uid) ||
                 (t->in_theirs && st.st_uid == t->uid);
    if (!known)
        return -DIRTY_SAFE_OWNER;
    return st.st_nlink > 1 ? -DIRTY_SAFE_NAMES : 0;
}

/* Open on a path that is not ours. Opens an existing file first, and creates a new one
 * with O_EXCL. So no file is truncated by mistake, and the kernel's restrictions for /tmp
 * (fs.protected_*) do not apply. */
static int open_strange(const dirty_trail *t, const char *path, int flags, mode_t mode) {
    dirty_safe_scope scope;
    int at = t->dir_fd >= 0 ? t->dir_fd : AT_FDCWD;
    const char *name = t->dir_fd >= 0 ? t->name : path;
    int rc = become(&scope, t, path);
    if (rc < 0)
        return rc;
    int fd = open_at(at, name, flags & ~O_CREAT, 0);
    if (fd == -ENOENT && (flags & O_CREAT))
        fd = open_at(at, name, flags | O_EXCL, mode);
    switch_back(&scope);
    if (fd < 0) /* it would block on writing, so it is a FIFO or a socket */
        return fd == -EEXIST ? -ESTALE : fd == -ENXIO ? -DIRTY_SAFE_KIND : fd;
    rc = check_strange(fd, t);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

static int open_once(const char *path, int flags, mode_t mode, unsigned what) {
    dirty_trail t;
    int rc = what & DIRTY_SAFE_NO_LINK ? dirty_trail_follow_no_link(&t, path, geteuid())
                                       : dirty_trail_follow(&t, path, geteuid());
    if (rc == 0 && t.strange)
        rc = open_strange(&t, path, flags, mode);
    else if (rc == 0 && t.exists)
        rc = open_found(&t, flags & ~O_CREAT, what);
    else if (rc == 0)
        rc = make_file(&t, flags, mode, what);
    if (t.dir_fd >= 0)
        close(t.dir_fd);
    return rc;
}

int dirty_safe_open(const char *path, int flags, mode_t mode, unsigned what) {
    int rc = -ESTALE;
    for (int tries = 0; rc == -ESTALE && tries < TRIES; tries++)
        rc = open_once(path, flags, mode, what);
    return rc;
}
