/* oom: whether the kernel's OOM killer is the likely cause of a death by SIGKILL.
 *
 * The kernel counts what it has killed in a control group: `oom_kill` in memory.events
 * (cgroup v2) or memory.oom_control (v1). Where neither is to be seen, /proc/vmstat
 * counts for the whole machine. Each kill explains one death, within some seconds: what
 * else of the group it has ended, an app's child for instance, must not explain one for
 * ever. */
#ifndef DIRTY_OOM_H
#define DIRTY_OOM_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* A kill that has explained nothing is forgotten after 5 to 10 s. */
#define DIRTY_OOM_MARK_MS 5000

typedef struct dirty_oom {
    char path[PATH_MAX]; /* of the file that counts; "": there is none */
    uint64_t told;       /* kills that have explained a death, or are forgotten */
    uint64_t mark;       /* kills there were at mark_ns */
    uint64_t mark_ns;
} dirty_oom;

/* Find what counts for this process, and begin now. `root` goes before the paths of /proc
 * and /sys: "" but in tests. */
void dirty_oom_open(dirty_oom *o, const char *root, uint64_t now_ns);

/* A process of our group was killed: was it the OOM killer, likely? */
bool dirty_oom_take(dirty_oom *o);

/* To be called every second or so: forgets kills that have explained nothing. */
void dirty_oom_forget(dirty_oom *o, uint64_t now_ns);

#endif
