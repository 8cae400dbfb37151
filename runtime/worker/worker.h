/* worker: the body of a worker process. It runs the lanes: with one lane the lane is the
 * main thread, with more each has a thread of its own and its own Lua state. A crash in
 * one lane ends the process and so all of its lanes.
 *
 *   post_fork (caller) → lanes boot their apps → worker_init hook → every lane READY →
 *   requests → STOP or end of the channel → close(app) of each → exit 0
 *
 * The first lane that fails to boot sends BOOT_FAILED, and the process ends. */
#ifndef DIRTY_WORKER_H
#define DIRTY_WORKER_H

#include "base/worker_start.h"

/* Exit statuses of a worker process. */
typedef enum dirty_worker_status {
    DIRTY_WORKER_STOPPED = 0,     /* told to stop, and did */
    DIRTY_WORKER_BOOT_FAILED = 1, /* said by BOOT_FAILED on the lane's channel */
    DIRTY_WORKER_ORPHANED = 2,    /* the arbiter was gone before the worker began */
    DIRTY_WORKER_BROKEN = 70      /* a bug of the runtime, or no memory: see the log */
} dirty_worker_status;

/* Run the worker in a child that was just forked for it: in a process group of its own,
 * foreign descriptors closed, signals reset. Everything in `start` is borrowed. Returns
 * the exit status; ends the process by itself where lanes still run. */
int dirty_worker_main(const dirty_worker_start *start);

#endif
