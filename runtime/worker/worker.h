/* worker: the body of a worker process. It runs the lanes. A single lane runs in the main
 * thread. With several lanes each has a thread and a Lua state of its own. A crash in one
 * lane ends the process and with it all lanes.
 *
 *   post_fork hook (before this) → lanes boot their apps → worker_init hook →
 *   every lane sends READY → requests → STOP or end of the channel →
 *   close(app) of each → exit 0
 *
 * The first lane that fails to boot sends BOOT_FAILED, and the process ends. */
#ifndef DIRTY_WORKER_H
#define DIRTY_WORKER_H

#include "base/worker_start.h"

/* Exit statuses of a worker process. */
typedef enum dirty_worker_status {
    DIRTY_WORKER_STOPPED = 0,     /* stopped as ordered */
    DIRTY_WORKER_BOOT_FAILED = 1, /* a lane sent BOOT_FAILED on its channel */
    DIRTY_WORKER_ORPHANED = 2,    /* the arbiter died before the worker began */
    DIRTY_WORKER_BROKEN = 70      /* a bug of the runtime or no memory, see the log */
} dirty_worker_status;

/* Run the worker in a child that was just forked for it. The child has a process group of
 * its own, no foreign descriptors and default signals. Everything in `start` is borrowed.
 * Returns the exit status. Exits the process itself if lanes still run. */
int dirty_worker_main(const dirty_worker_start *start);

#endif
