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

/* SIOCUNIXFILE of <linux/un.h>, which can't be included together with <sys/un.h>. The
 * ioctl returns an O_PATH descriptor of the file that a socket is bound to. */
#define FILE_OF_SOCKET SIOCPROTOPRIVATE

/* Whether the kernel lets us use FILE_OF_SOCKET. It checks the capability before it looks
 * for a file, so ENOENT means yes. */
static bool can_ask(int fd) {
    return ioctl(fd, FILE_OF_SOCKET, NULL) < 0 && errno == ENOENT;
}

/* Set the address to bind to: the path, as `ss` shows it later, or a name below
 * /proc/self/fd if root could be led elsewhere by the path. Returns 0 or
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

/* Set owner and group of the file; `st` is its current state. A file that was bound with
 * another user's credentials belongs to that user until this call. */
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

/* Whether it is a socket with one name and with no permission bits outside `mode`.
 * Whoever had it until now may have changed that. */
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
    return rc < 0 ? rc : check(b->file_fd, mode, &st); /* nobody else can change it now */
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
    bool switched = scope.switched; /* dirty_safe_leave resets it */
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
