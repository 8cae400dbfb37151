#include "base/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int dirty_pidfile_write(const char *path, pid_t pid) {
    char temp[PATH_MAX], text[32];
    int len = snprintf(text, sizeof text, "%d\n", (int)pid);
    if ((size_t)snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= sizeof temp)
        return -ENAMETOOLONG;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = write(fd, text, (size_t)len) == len && fchmod(fd, 0644) == 0 ? 0 : -errno;
    close(fd);
    if (rc == 0 && rename(temp, path) < 0)
        rc = -errno;
    if (rc < 0)
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
