#include "base/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Write the temporary file; its name goes to `temp`, PATH_MAX long. 0 or -errno. */
static int write_temp(const char *path, pid_t pid, char *temp) {
    char text[32];
    int len = snprintf(text, sizeof text, "%d\n", (int)pid);
    if (snprintf(temp, PATH_MAX, "%s.XXXXXX", path) >= PATH_MAX)
        return -ENAMETOOLONG;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    errno = ENOSPC; /* of a write that is cut short */
    int rc = write(fd, text, (size_t)len) == len && fchmod(fd, 0644) == 0 ? 0 : -errno;
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    if (rc < 0)
        unlink(temp);
    return rc;
}

int dirty_pidfile_write(const char *path, pid_t pid) {
    char temp[PATH_MAX];
    int rc = write_temp(path, pid, temp);
    if (rc == 0 && rename(temp, path) < 0) {
        rc = -errno;
        unlink(temp);
    }
    return rc;
}

int dirty_pidfile_try(const char *path) {
    char temp[PATH_MAX];
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return -EISDIR;
    int rc = write_temp(path, getpid(), temp);
    if (rc == 0)
        unlink(temp);
    return rc;
}

void dirty_pidfile_remove(const char *path, pid_t pid) {
    int held = 0;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    if (fscanf(f, "%d", &held) == 1 && held == (int)pid)
        unlink(path);
    fclose(f);
}
