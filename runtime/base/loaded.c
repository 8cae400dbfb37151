#include "base/loaded.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Room for the paths that are written before the arbiter reads. */
#define PIPE_ROOM (1 << 20)

static int ends[2] = {-1, -1};

int dirty_loaded_open(void) {
    if (ends[0] >= 0)
        return 0;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_ROOM); /* the usual 64 KiB hold 1,000 paths too */
    return 0;
}

int dirty_loaded_end(void) {
    return ends[1];
}

int dirty_loaded_fd(void) {
    return ends[0];
}

long dirty_loaded_read(char *room, size_t size) {
    return ends[0] >= 0 ? read(ends[0], room, size) : -1;
}

void dirty_loaded_tell(const char *path) {
    char directory[PATH_MAX], line[PIPE_BUF];
    bool absolute = path[0] == '/';
    if (ends[1] < 0 || strchr(path, '\n') != NULL ||
        (!absolute && getcwd(directory, sizeof directory) == NULL))
        return;
    if (!absolute && path[0] == '.' && path[1] == '/')
        path += 2;
    int len = snprintf(line, sizeof line, "%s%s%s\n", absolute ? "" : directory,
                       absolute ? "" : "/", path);
    if (len > 0 && (size_t)len < sizeof line && write(ends[1], line, (size_t)len) < 0)
        return; /* the pipe is full */
}
