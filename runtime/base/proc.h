/* proc: what /proc says of processes. Id and start time together tell a process from a
 * later one with the same id.
 *
 * A process that runs an app's code puts its mark into the environment. All that it
 * starts inherit the mark, whatever their session and parent are later. A process that
 * was forked without an exec shows the mark of its parent. One whose environment was
 * cleared shows none. */
#ifndef DIRTY_BASE_PROC_H
#define DIRTY_BASE_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The variable that is the mark. */
#define DIRTY_PROC_MARK "DIRTY_OWNER"

typedef struct dirty_proc {
    pid_t pid;      /* 0: nobody */
    uint64_t at;    /* of /proc/PID/stat: ticks since the system started */
    pid_t parent;   /* as it is now */
    bool has_ended; /* it waits to be reaped */
} dirty_proc;

/* Look a process up. 0, or -1: there is none, or /proc does not tell. */
int dirty_proc_read(pid_t pid, dirty_proc *out);

/* Mark what this process is going to exec, and what that starts, as its own. Before
 * there are threads. */
void dirty_proc_mark(void);

/* By whose mark the process runs: pid and at of `out` are set. -1: it shows none,
 * -EACCES: we may not look. */
int dirty_proc_marked_by(pid_t pid, dirty_proc *out);

/* Does that very process still run? Where /proc does not tell (hidepid), one that has its
 * id is taken for it. */
bool dirty_proc_is_alive(const dirty_proc *who);

/* Bytes of a process that are in memory, RSS. 0: /proc does not tell. */
uint64_t dirty_proc_rss_bytes(pid_t pid);

#endif
