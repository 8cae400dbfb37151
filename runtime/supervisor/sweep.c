#include "supervisor/sweep.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "supervisor/children.h"

#define LIST_SIZE 256

static void kill_child(pid_t child, void *arg) {
    (void)arg;
    kill(child, SIGKILL);
}

static void add_pid(pid_t child, void *arg) {
    char *list = arg;
    size_t len = strlen(list);
    snprintf(list + len, LIST_SIZE - len, "%s%d", len ? " " : "", (int)child);
}

/* Reap what has ended. True: no child is left. */
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
            dirty_log(DIRTY_LOG_ERROR, "processes can't be ended", "pids=%s after_ms=%u",
                      DIRTY_LOG_QUOTE(list), timeout_ms);
            break;
        }
        /* What a child leaves comes here as it ends: so again, until there is none. */
        dirty_children(kill_child, NULL);
        nanosleep(&moment, NULL);
    }
    return count;
}
