#include "base/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/safe_file.h"

/* Maximum number of names to try for the temporary file. */
#define TRIES 100

/* Fill the temporary file and set its identity in *out. Returns 0 or -errno. */
static int fill(int fd, pid_t pid, dirty_pidfile *out) {
    char text[32];
    struct stat st;
    int len = snprintf(text, sizeof text, "%d\n", (int)pid);
    errno = ENOSPC; /* for a short write */
    if (write(fd, text, (size_t)len) != len || fchmod(fd, 0644) < 0 || fstat(fd, &st) < 0)
        return -errno;
    *out = (dirty_pidfile){st.st_dev, st.st_ino};
    return 0;
}

/* Create a temporary file beside the scope's file. `temp` gets its name; it has room for
 * NAME_MAX + 1 bytes. Returns a descriptor or -errno. */
static int make_temp(const dirty_safe_scope *s, char *temp) {
    int fd = -1;
    for (int tries = 0; fd < 0 && tries < TRIES; tries++) {
        unsigned number = 0;
        if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number)
            number = (unsigned)dirty_now_ns();
        int len = snprintf(temp, NAME_MAX + 1, "%s.%06x", s->name, number & 0xffffff);
        if (len > NAME_MAX)
            return -ENAMETOOLONG;
        fd = openat(s->dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    0600);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    return fd < 0 ? -errno : fd;
}

/* Write the temporary file; `temp` gets its name. Returns 0 or -errno. */
static int write_temp(const dirty_safe_scope *s, pid_t pid, char *temp,
                      dirty_pidfile *out) {
    int fd = make_temp(s, temp);
    if (fd < 0)
        return fd;
    int rc = fill(fd, pid, out);
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    if (rc < 0)
        unlinkat(s->dir_fd, temp, 0);
    return rc;
}

int dirty_pidfile_write(dirty_pidfile *out, const char *path, pid_t pid) {
    char temp[NAME_MAX + 1];
    dirty_safe_scope scope;
    dirty_pidfile written;
    int rc = dirty_safe_enter(&scope, path);
    if (rc < 0)
        return rc;
    rc = write_temp(&scope, pid, temp, &written);
    if (rc == 0 && renameat(scope.dir_fd, temp, scope.dir_fd, scope.name) < 0) {
        rc = -errno;
        unlinkat(scope.dir_fd, temp, 0);
    }
    dirty_safe_leave(&scope);
    if (rc == 0)
        *out = written;
    return rc;
}

int dirty_pidfile_try(const char *path) {
    char temp[NAME_MAX + 1];
    struct stat st;
    dirty_safe_scope scope;
    dirty_pidfile written;
    int rc = dirty_safe_enter(&scope, path);
    if (rc < 0)
        return rc;
    bool is_directory =
        fstatat(scope.dir_fd, scope.name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(st.st_mode);
    rc = is_directory ? -EISDIR : write_temp(&scope, getpid(), temp, &written);
    if (rc == 0)
        unlinkat(scope.dir_fd, temp, 0);
    dirty_safe_leave(&scope);
    return rc;
}

/* Whether the file is the one we wrote. Opened without blocking, because it may be
 * anything by now. The inode number of a removed file can be reused, so the content is
 * compared too. */
static bool is_ours(const dirty_pidfile *p, const dirty_safe_scope *s, pid_t pid) {
    char text[32];
    struct stat st;
    int fd = openat(s->dir_fd, s->name,
                    O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool same = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == p->dev &&
                st.st_ino == p->ino;
    ssize_t n = same ? read(fd, text, sizeof text - 1) : -1;
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return strtol(text, NULL, 10) == pid;
}

void dirty_pidfile_remove(const dirty_pidfile *p, const char *path, pid_t pid) {
    dirty_safe_scope scope;
    if (p->ino == 0 || dirty_safe_enter(&scope, path) < 0)
        return;
    if (is_ours(p, &scope, pid))
        unlinkat(scope.dir_fd, scope.name, 0);
    dirty_safe_leave(&scope);
}
