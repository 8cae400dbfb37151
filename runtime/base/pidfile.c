#include "base/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/safe_file.h"

/* Fill the temporary file and note which it is. 0 or -errno. */
static int fill(int fd, pid_t pid, dirty_pidfile *out) {
    char text[32];
    struct stat st;
    int len = snprintf(text, sizeof text, "%d\n", (int)pid);
    errno = ENOSPC; /* of a write that is cut short */
    if (write(fd, text, (size_t)len) != len || fchmod(fd, 0644) < 0 || fstat(fd, &st) < 0)
        return -errno;
    *out = (dirty_pidfile){st.st_dev, st.st_ino};
    return 0;
}

/* Write the temporary file; its name goes to `temp`, PATH_MAX long. 0 or -errno. */
static int write_temp(const char *path, pid_t pid, char *temp, dirty_pidfile *out) {
    if (snprintf(temp, PATH_MAX, "%s.XXXXXX", path) >= PATH_MAX)
        return -ENAMETOOLONG;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fill(fd, pid, out);
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    if (rc < 0)
        unlink(temp);
    return rc;
}

int dirty_pidfile_write(dirty_pidfile *out, const char *path, pid_t pid) {
    char temp[PATH_MAX];
    dirty_safe_scope scope;
    dirty_pidfile written;
    int rc = dirty_safe_enter(&scope, path);
    if (rc < 0)
        return rc;
    rc = write_temp(path, pid, temp, &written);
    if (rc == 0 && rename(temp, path) < 0) {
        rc = -errno;
        unlink(temp);
    }
    dirty_safe_leave(&scope);
    if (rc == 0)
        *out = written;
    return rc;
}

int dirty_pidfile_try(const char *path) {
    char temp[PATH_MAX];
    struct stat st;
    dirty_safe_scope scope;
    dirty_pidfile written;
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return -EISDIR;
    int rc = dirty_safe_enter(&scope, path);
    if (rc < 0)
        return rc;
    rc = write_temp(path, getpid(), temp, &written);
    if (rc == 0)
        unlink(temp);
    dirty_safe_leave(&scope);
    return rc;
}

/* Opened without waiting, as anything may be there by now. The number of a file that was
 * removed is given to another one: so what it holds counts too. */
static bool is_ours(const dirty_pidfile *p, const char *path, pid_t pid) {
    char text[32];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
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
    if (is_ours(p, path, pid))
        unlink(path);
    dirty_safe_leave(&scope);
}
