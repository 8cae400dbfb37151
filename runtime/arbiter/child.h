/* child: forks the arbiter's children, and what they do before and after their body. */
#ifndef DIRTY_ARBITER_CHILD_H
#define DIRTY_ARBITER_CHILD_H

#include "arbiter/worker.h"

/* Fork a worker. The child sets its process group, default signals and title, drops
 * foreign descriptors and pages, calls post_fork, then runs the body. `channels` are the
 * lanes' ends (lane_count of them). `outputs` become its stdout and stderr. Returns its
 * pid, or -1 with errno. */
pid_t child_start(worker *w, const int *channels, const int *outputs);

/* Fork the child that loads the pending configuration's apps (source.probe) and writes
 * its report to `report_fd`. Returns its pid, or -1 with errno. */
pid_t child_probe(arbiter *a, bool same, int report_fd);

/* Fork the child that calls the hook worker_exit for a reaped worker. Returns its pid,
 * or -1 with errno. */
pid_t child_exit_hook(worker *w);

#endif
