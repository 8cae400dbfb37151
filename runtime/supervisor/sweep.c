#include "supervisor/sweep.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* Called for every child that is found. */
typedef void visit(pid_t child, void *arg);

static bool visit_listed(visit *found, void *arg) {
    char path[64];
    int pid;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)gettid());
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    while (fscanf(f, "%d", &pid) == 1)
        found(pid, arg);
    fclose(f);
    return true;
}

/* The parent's id is the second field behind the name, which ends at the last ')'. */
static pid_t parent_of(const char *pid_text) {
    char path[64], text[512];
    int parent = -1;
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid_text);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return -1;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *name_end = strrchr(text, ')');
    if (name_end == NULL || sscanf(name_end + 1, " %*c %d", &parent) != 1)
        return -1;
    return parent;
}

/* For kernels without the list of children: look at everybody. */
static void visit_scanned(visit *found, void *arg) {
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return;
    const struct dirent *entry;
    while ((entry = readdir(proc)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]) &&
            parent_of(entry->d_name) == getpid())
            found((pid_t)strtol(entry->d_name, NULL, 10), arg);
    closedir(proc);
}

static void visit_children(visit *found, void *arg) {
    if (!visit_listed(found, arg))
        visit_scanned(found, arg);
}

static void kill_child(pid_t child, void *arg) {
    (void)arg;
    kill(child, SIGKILL);
}

static void add_pid(pid_t child, void *arg) {
    char *list = arg;
    size_t len = strlen(list);
    snprintf(list + len, 256 - len, "%s%d", len ? " " : "", (int)child);
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
            char list[256] = "";
            visit_children(add_pid, list);
            dirty_log(DIRTY_LOG_ERROR, "processes can't be ended", "pids=%s after_ms=%u",
                      DIRTY_LOG_QUOTE(list), timeout_ms);
            break;
        }
        visit_children(kill_child, NULL);
        if (!reap(&count))
            nanosleep(&moment, NULL);
        else
            break;
    }
    return count;
}
