#include "base/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <unistd.h>

#include "base/log.h"

/* Larger than the default, because nobody reads while the Lua runs. */
#define ROOM_BYTES (256 * 1024)

static struct {
    bool open;
    int read_ends[2], write_ends[2];
    int former[2]; /* original stdout and stderr, owned between begin and end; else -1 */
} state = {.read_ends = {-1, -1}, .write_ends = {-1, -1}, .former = {-1, -1}};

static int open_pipe(int i) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    fcntl(fds[1], F_SETPIPE_SZ, ROOM_BYTES);
    state.read_ends[i] = fds[0];
    state.write_ends[i] = fds[1];
    return 0;
}

int dirty_capture_open(void) {
    if (state.open)
        return 0;
    dirty_log_keep();
    for (int i = 0; i < 2; i++) {
        int rc = state.read_ends[i] < 0 ? open_pipe(i) : 0;
        if (rc < 0)
            return rc;
    }
    state.open = true;
    return 0;
}

void dirty_capture_ends(int read_ends[2], int write_ends[2]) {
    for (int i = 0; i < 2; i++) {
        read_ends[i] = state.open ? state.read_ends[i] : -1;
        write_ends[i] = state.open ? state.write_ends[i] : -1;
    }
}

void dirty_capture_begin(void) {
    for (int i = 0; i < 2 && state.open; i++) {
        state.former[i] = fcntl(STDOUT_FILENO + i, F_DUPFD_CLOEXEC, 3);
        if (state.former[i] >= 0)
            dup2(state.write_ends[i], STDOUT_FILENO + i);
    }
    if (state.open && state.former[1] >= 0)
        dirty_log_stderr(state.former[1]);
}

void dirty_capture_end(void) {
    if (!state.open)
        return;
    dirty_log_stderr(STDERR_FILENO);
    fflush(stdout);
    __fpurge(stdout); /* drop what did not fit into the pipe, so that it is not written
                         later */
    for (int i = 0; i < 2; i++) {
        if (state.former[i] < 0)
            continue;
        dup2(state.former[i], STDOUT_FILENO + i);
        close(state.former[i]);
        state.former[i] = -1;
    }
}
