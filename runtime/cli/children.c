#include "cli/children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A signal handler has no argument of its own. */
static struct {
    bool whole; /* it can be told who is not in it */
    char path[64];
    pid_t *pids; /* owned, sorted */
    size_t count, room;
} note;

static int compare(const void *a, const void *b) {
    pid_t left = *(const pid_t *)a, right = *(const pid_t *)b;
    return (left > right) - (left < right);
}

/* Call `visit` with every child. Uses what signal handlers may. 0 or -1. */
static int each_child(bool (*visit)(pid_t pid)) {
    char chunk[1024];
    ssize_t n;
    pid_t pid = 0;
    bool going = true;
    int fd = open(note.path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while (going && (n = read(fd, chunk, sizeof chunk)) != 0) {
        if (n < 0 && errno != EINTR)
            going = false;
        for (ssize_t i = 0; i < n && going; i++) {
            if (chunk[i] >= '0' && chunk[i] <= '9') {
                pid = pid * 10 + (chunk[i] - '0');
            } else if (pid > 0) {
                going = visit(pid);
                pid = 0;
            }
        }
    }
    close(fd);
    return going ? 0 : -1;
}

static bool keep(pid_t pid) {
    if (note.count == note.room) {
        size_t room = note.room ? 2 * note.room : 64;
        pid_t *more = realloc(note.pids, room * sizeof *more);
        if (more == NULL)
            return false;
        note.pids = more;
        note.room = room;
    }
    note.pids[note.count++] = pid;
    return true;
}

static void forget(void) {
    free(note.pids);
    note.pids = NULL;
    note.count = note.room = 0;
    note.whole = false;
}

void dirty_started_note(void) {
    forget();
    snprintf(note.path, sizeof note.path, "/proc/self/task/%d/children", (int)getpid());
    if (each_child(keep) < 0)
        return;
    if (note.count > 0)
        qsort(note.pids, note.count, sizeof *note.pids, compare);
    note.whole = true;
}

static bool is_noted(pid_t pid) {
    return note.count > 0 &&
           bsearch(&pid, note.pids, note.count, sizeof pid, compare) != NULL;
}

static bool kill_unknown(pid_t pid) {
    if (!is_noted(pid))
        kill(pid, SIGKILL);
    return true;
}

static bool kill_known(pid_t pid) {
    if (is_noted(pid) && getpgid(pid) == getpgrp())
        kill(pid, SIGKILL);
    return true;
}

void dirty_started_kill(void) {
    int error = errno;
    if (note.whole)
        each_child(kill_unknown);
    errno = error;
}

void dirty_started_kill_former(void) {
    int error = errno;
    if (note.whole)
        each_child(kill_known);
    errno = error;
}
