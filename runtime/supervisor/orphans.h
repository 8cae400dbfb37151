/* orphans: finds processes that an app has started and that outlive its worker.
 *
 * A process in the worker's process group is killed together with the worker. One that
 * has left the group (setsid, a daemon) becomes a child of the nearest child subreaper
 * when its parent ends. A daemon comes at once, while its worker still runs and may need
 * it; others come when the worker ends. The mark of base/proc.h tells which worker it
 * belongs to. */
#ifndef DIRTY_SUPERVISOR_ORPHANS_H
#define DIRTY_SUPERVISOR_ORPHANS_H

#include <sys/types.h>

/* Kill the children of this process, except `arbiter`, whose worker is gone. Children
 * without a mark are left alone. Returns how many were killed. Processes that these have
 * started come here when they end, so call it again soon. */
unsigned dirty_orphans_kill(pid_t arbiter);

#endif
