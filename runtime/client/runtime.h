/* runtime: what a dirty_runtime holds. dirty.h tells what it does. */
#ifndef DIRTY_CLIENT_RUNTIME_H
#define DIRTY_CLIENT_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "dirty.h"

/* Most of what a start that fails says; what is more is cut. */
#define DIRTY_RUNTIME_SAID_SIZE 4096

struct dirty_runtime {
    pid_t owner;     /* the process that spawned it; a forked one has but a copy */
    pid_t pid;       /* of the supervisor; 0: none was started, or it has ended */
    int pid_fd;      /* of it, -1: none, where the system has no pidfd_open */
    int lifeline_fd; /* base/lifeline.h; -1: none was started */
    int status;      /* exit status, 128 and the signal's number, -1: not known */
    bool ready;
    char socket[1024]; /* room for what no socket can have, so that it is told */
    size_t said_len;
    char said[DIRTY_RUNTIME_SAID_SIZE]; /* by the start, NUL-terminated */
    int err;
    char message[DIRTY_RUNTIME_SAID_SIZE + 512];
};

/* Start the command with the lifeline and fill in pid, pid_fd and lifeline_fd. 0 or a
 * code DIRTY_E…, told in the runtime; then nothing runs. */
int dirty_runtime_launch(dirty_runtime *rt, const dirty_spawn_options *options);

/* Tell a failure. Returns `code`. */
int dirty_runtime_fail(dirty_runtime *rt, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
