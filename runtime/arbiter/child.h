/* child: what a forked worker process does before and after its body. */
#ifndef DIRTY_ARBITER_CHILD_H
#define DIRTY_ARBITER_CHILD_H

#include "arbiter/worker.h"

/* Run in the child: set the process group, default signals and title, drop foreign
 * descriptors and pages, call post_fork, then run the body. `channels` are the lanes'
 * ends (lane_count of them). `outputs` become stdout and stderr. Never returns. */
_Noreturn void child_run(worker *w, const int *channels, const int *outputs);

/* Fork the child that loads the pending configuration's apps (source.probe) and writes
 * its report to `report_fd`. Returns its pid, or -1 with errno. */
pid_t child_probe(arbiter *a, bool same, int report_fd);

/* Fork the child that calls the hook worker_exit for a reaped worker. Returns its pid,
 * or -1 with errno. */
pid_t child_exit_hook(worker *w);

#endif
