/* oom: tells whether the kernel's OOM killer probably caused a death by SIGKILL.
 *
 * The kernel counts its kills per control group: `oom_kill` in memory.events (cgroup v2)
 * or memory.oom_control (v1). If neither is visible, /proc/vmstat counts for the whole
 * machine. Each kill explains one death, within some seconds. After that it is forgotten:
 * it may have hit another process of the group, for instance an app's child, and must not
 * explain a later death. */
#ifndef DIRTY_OOM_H
#define DIRTY_OOM_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* A kill that has explained no death is forgotten after 5 to 10 s. */
#define DIRTY_OOM_MARK_MS 5000

typedef struct dirty_oom {
    char path[PATH_MAX]; /* file with the counter; "": none */
    uint64_t told;       /* kills that have explained a death or are forgotten */
    uint64_t mark;       /* value of the counter at mark_ns */
    uint64_t mark_ns;
} dirty_oom;

/* Find the counter for this process and start at its current value. `root` is put before
 * the paths of /proc and /sys; it is "" except in tests. */
void dirty_oom_open(dirty_oom *o, const char *root, uint64_t now_ns);

/* A process of our group was killed. Whether the OOM killer probably did it. Uses up one
 * kill. */
bool dirty_oom_take(dirty_oom *o);

/* Forget old kills that have explained no death. Call it about once a second. */
void dirty_oom_forget(dirty_oom *o, uint64_t now_ns);

#endif
