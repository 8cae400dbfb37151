/* birth: processes by their id and the moment they were born, which tells one from a
 * later one of the same id; and who started what.
 *
 * A process that runs an app's code leaves its mark in the environment, which all that it
 * starts inherit, whatever session they go to and whoever their parent is by then. A
 * process that is forked without an exec shows its parent's mark; one whose environment
 * was cleared shows none. */
#ifndef DIRTY_BIRTH_H
#define DIRTY_BIRTH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The variable that is the mark. */
#define DIRTY_BIRTH_MARK "DIRTY_OWNER"

typedef struct dirty_birth {
    pid_t pid;      /* 0: nobody */
    uint64_t at;    /* of /proc/PID/stat: ticks since the system started */
    pid_t parent;   /* as it is now */
    bool has_ended; /* it waits to be reaped */
} dirty_birth;

/* Look a process up. 0, or -1: there is none, or /proc does not tell. */
int dirty_birth_of(pid_t pid, dirty_birth *out);

/* Mark what this process is going to exec, and what that starts, as its own. Before
 * there are threads. */
void dirty_birth_mark(void);

/* By whose mark the process runs: pid and at of `out` are set. -1: it shows none,
 * -EACCES: we may not look. */
int dirty_birth_owner(pid_t pid, dirty_birth *out);

/* Does that very process still run? Where /proc does not tell (hidepid), one that has its
 * id is taken for it. */
bool dirty_birth_lives(const dirty_birth *who);

#endif
