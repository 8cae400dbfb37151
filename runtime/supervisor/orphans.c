#include "supervisor/orphans.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>

#include "base/proc.h"
#include "base/log.h"
#include "base/children.h"

typedef struct look {
    pid_t arbiter;
    unsigned killed;
} look;

/* Warn only once, because it affects every orphan of a worker that runs as another
 * user. */
static void warn_of_permission(pid_t child) {
    static bool warned;
    if (!warned)
        dirty_log(DIRTY_LOG_WARN, "can't see which worker started a process",
                  "left_pid=%d remedy=%s", (int)child,
                  DIRTY_LOG_QUOTE("the subreaper needs CAP_SYS_PTRACE"));
    warned = true;
}

static void look_at(pid_t child, void *arg) {
    look *l = arg;
    dirty_proc worker;
    if (child == l->arbiter)
        return;
    int rc = dirty_proc_marked_by(child, &worker);
    if (rc == -EACCES)
        warn_of_permission(child);
    if (rc < 0 || dirty_proc_is_alive(&worker))
        return;
    dirty_log(DIRTY_LOG_INFO, "killed a process that a dead worker had started",
              "left_pid=%d worker_pid=%d", (int)child, (int)worker.pid);
    /* It is our child: nobody else can have its id before we reap it. */
    kill(child, SIGKILL);
    l->killed++;
}

unsigned dirty_orphans_kill(pid_t arbiter) {
    look l = {.arbiter = arbiter};
    dirty_children(look_at, &l);
    return l.killed;
}
