/* child: what a forked worker process does before and after its body. */
#ifndef DIRTY_ARBITER_CHILD_H
#define DIRTY_ARBITER_CHILD_H

#include "arbiter/worker.h"

/* In the child: own process group, default signals, no foreign descriptors and pages,
 * title, post_fork hook, then the body. `channels` are the lanes' ends, lane_count of
 * them, `outputs` what becomes its stdout and stderr. Never returns. */
_Noreturn void child_run(worker *w, const int *channels, const int *outputs);

/* Fork the child that loads the pending configuration's apps (source.probe) and writes
 * its report to `report_fd`. Its pid, or -1 with errno. */
pid_t child_probe(arbiter *a, bool same, int report_fd);

/* Fork the child that calls the hook worker_exit for a worker that was reaped. Its pid,
 * or -1 with errno. */
pid_t child_exit_hook(worker *w);

#endif
