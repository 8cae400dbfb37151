#include "base/bound.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/safe_file.h"

/* SIOCUNIXFILE of <linux/un.h>, which can't be included beside <sys/un.h>: the file that
 * a socket is bound to, by O_PATH. */
#define FILE_OF_SOCKET SIOCPROTOPRIVATE

/* Whether the kernel will tell: it looks at rights before it looks for a file. */
static bool can_ask(int fd) {
    return ioctl(fd, FILE_OF_SOCKET, NULL) < 0 && errno == ENOENT;
}

/* By the path, as `ss` shows it later, unless it may lead root elsewhere by now. 0 or
 * -ENAMETOOLONG. */
static int find_address(struct sockaddr_un *address, const char *path,
                        const dirty_safe_scope *s, bool told) {
    int len;
    const int size = sizeof address->sun_path;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    bool by_path = geteuid() != 0 || (s->switched ? told : !s->movable);
    if (by_path)
        len = snprintf(address->sun_path, sizeof address->sun_path, "%s", path);
    else
        len = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s",
                       s->dir_fd, s->name);
    return len < size ? 0 : -ENAMETOOLONG;
}

static int bind_there(int fd, const char *path, const dirty_safe_scope *s, bool told) {
    struct sockaddr_un address;
    int rc = find_address(&address, path, s, told);
    if (rc < 0)
        return rc;
    mode_t before = umask(0);
    rc = bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
    umask(before);
    return rc;
}

static int open_file(int fd, const dirty_safe_scope *s, bool told) {
    int file_fd = told ? ioctl(fd, FILE_OF_SOCKET, NULL)
                       : openat(s->dir_fd, s->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return file_fd < 0 ? -errno : file_fd;
}

/* What is to be given away, of what `st` is now. One that was bound with another's rights
 * is theirs up to now. */
static int give(dirty_bound *b, const struct stat *st, const dirty_safe_scope *s,
                bool told, int64_t to_uid, int64_t to_gid) {
    uid_t uid = to_uid < 0 && s->switched ? geteuid() : (uid_t)to_uid;
    gid_t gid = to_gid < 0 && s->switched ? getegid() : (gid_t)to_gid;
    if (uid == (uid_t)-1 && gid == (gid_t)-1)
        return 0;
    if (!told && geteuid() == 0 && st->st_uid != s->uid)
        return -ESTALE;
    if (fchownat(b->file_fd, "", uid, gid, AT_EMPTY_PATH) == 0)
        return 0;
    b->refused = errno == EPERM;
    return -errno;
}

/* Whether it is a socket that nobody has another name for, open to no more than `mode`:
 * who had it until now may have changed that. */
static int check(int file_fd, mode_t mode, struct stat *st) {
    if (fstat(file_fd, st) < 0)
        return -errno;
    bool good =
        S_ISSOCK(st->st_mode) && st->st_nlink == 1 && (st->st_mode & 07777 & ~mode) == 0;
    return good ? 0 : -ESTALE;
}

static int take_file(dirty_bound *b, mode_t mode, const dirty_safe_scope *s, bool told,
                     int64_t uid, int64_t gid) {
    struct stat st = {0};
    int rc = check(b->file_fd, mode, &st);
    if (rc == 0 || told) {
        b->dev = st.st_dev;
        b->ino = st.st_ino;
    }
    if (rc < 0)
        return rc;
    rc = give(b, &st, s, told, uid, gid);
    return rc < 0 ? rc : check(b->file_fd, mode, &st); /* now nobody can change it */
}

int dirty_bound_make(dirty_bound *out, int fd, const char *path, int64_t uid,
                     int64_t gid) {
    dirty_safe_scope scope;
    struct stat of_fd;
    *out = (dirty_bound){.file_fd = -1};
    if (fstat(fd, &of_fd) < 0)
        return -errno;
    int rc = dirty_safe_enter(&scope, path);
    if (rc < 0)
        return rc;
    bool told = can_ask(fd);
    rc = bind_there(fd, path, &scope, told);
    if (rc == 0)
        rc = out->file_fd = open_file(fd, &scope, told);
    bool switched = scope.switched; /* which leave ends */
    dirty_safe_leave(&scope);
    scope.switched = switched;
    if (rc >= 0 && out->file_fd >= 0)
        rc = take_file(out, of_fd.st_mode & 07777, &scope, told, uid, gid);
    if (rc == 0)
        return 0;
    if (out->ino != 0)
        dirty_safe_unlink(path, out->dev, out->ino);
    if (out->file_fd >= 0)
        close(out->file_fd);
    out->file_fd = -1;
    return rc;
}
