/* runtime: the struct dirty_runtime. See dirty.h. */
#ifndef DIRTY_CLIENT_RUNTIME_H
#define DIRTY_CLIENT_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "dirty.h"

/* Room for the output of a failed start. The rest is cut. */
#define DIRTY_RUNTIME_SAID_SIZE 4096

struct dirty_runtime {
    pid_t owner;     /* the process that spawned it; a forked one has only a copy */
    pid_t pid;       /* of the supervisor; 0: not started, or ended */
    int pid_fd;      /* pidfd of it; -1: none, or the system has no pidfd_open */
    int lifeline_fd; /* base/lifeline.h; -1: not started */
    int status;      /* exit status; 128 + signal number; -1: unknown */
    bool ready;
    char socket[1024]; /* larger than any socket path, so that a too long one can be
                          reported */
    size_t said_len;
    char said[DIRTY_RUNTIME_SAID_SIZE]; /* output of the start, NUL-terminated */
    int err;
    char message[DIRTY_RUNTIME_SAID_SIZE + 512];
};

/* Start the command with the lifeline and set pid, pid_fd and lifeline_fd. Returns 0, or
 * a code DIRTY_E… with the failure set and nothing running. */
int dirty_runtime_launch(dirty_runtime *rt, const dirty_spawn_options *options);

/* Set the failure. Returns `code`. */
int dirty_runtime_fail(dirty_runtime *rt, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
