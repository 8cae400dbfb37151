/* orphans: processes that an app has started and that outlive its worker.
 *
 * What stays in the worker's process group is killed with it. What has left that (setsid,
 * a daemon) becomes the child of the nearest child subreaper, the keeper, when its parent
 * ends: at once for a daemon, whose worker goes on and may need it, or with its worker.
 * By the mark of base/proc.h the keeper knows which worker it is of. */
#ifndef DIRTY_SUPERVISOR_ORPHANS_H
#define DIRTY_SUPERVISOR_ORPHANS_H

#include <sys/types.h>

/* Kill those children of this process, `arbiter` excepted, whose owner is gone. Those
 * that show no owner are left alone. Returns how many; what they in turn have started
 * comes here as they end, so look again soon. */
unsigned dirty_orphans_kill(pid_t arbiter);

#endif
