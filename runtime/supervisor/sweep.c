#include "supervisor/sweep.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "base/proc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/children.h"

#define LIST_SIZE 256

/* A script that starts the service by exec leaves a few children. */
#define SPARED_MAX 256

/* Global to the process, like the log. A forked process has other children, which match
 * nothing here. */
static dirty_proc spared[SPARED_MAX];
static unsigned spared_count;
static pid_t spared_also; /* 0: none */

static void spare(pid_t child, void *arg) {
    (void)arg;
    if (spared_count < SPARED_MAX && dirty_proc_read(child, &spared[spared_count]) == 0)
        spared_count++;
}

void dirty_sweep_spare(void) {
    spared_count = 0;
    dirty_children(spare, NULL);
}

void dirty_sweep_spare_also(pid_t child) {
    spared_also = child;
}

static bool is_spared(pid_t child) {
    dirty_proc now;
    if (child == spared_also)
        return true;
    for (unsigned i = 0; i < spared_count; i++)
        if (spared[i].pid == child)
            return dirty_proc_read(child, &now) == 0 && now.at == spared[i].at;
    return false;
}

/* Kill the child unless it is spared. `arg` counts the killed ones. */
static void kill_child(pid_t child, void *arg) {
    unsigned *found = arg;
    if (is_spared(child))
        return;
    kill(child, SIGKILL);
    ++*found;
}

static void add_pid(pid_t child, void *arg) {
    char *list = arg;
    size_t len = strlen(list);
    if (is_spared(child))
        return;
    snprintf(list + len, LIST_SIZE - len, "%s%d", len ? " " : "", (int)child);
}

/* Reap children that have ended. True: no child is left. */
static bool reap(unsigned *count) {
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        ++*count;
    return pid < 0 && errno == ECHILD;
}

unsigned dirty_sweep(uint32_t timeout_ms) {
    uint64_t until_ns = dirty_now_ns() + timeout_ms * DIRTY_NS_PER_MS;
    const struct timespec moment = {.tv_nsec = 1000000};
    unsigned count = 0;
    while (!reap(&count)) {
        if (dirty_now_ns() > until_ns) {
            char list[LIST_SIZE] = "";
            dirty_children(add_pid, list);
            dirty_log(DIRTY_LOG_ERROR, "can't kill processes", "pids=%s after_ms=%u",
                      DIRTY_LOG_QUOTE(list), timeout_ms);
            break;
        }
        /* A child's own children come here when it ends. So repeat until there is
         * none. */
        unsigned found = 0;
        dirty_children(kill_child, &found);
        if (found == 0 && (spared_count > 0 || spared_also > 0))
            break;
        nanosleep(&moment, NULL);
    }
    return count;
}
