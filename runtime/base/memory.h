/* memory: what the kernel says of memory. */
#ifndef DIRTY_MEMORY_H
#define DIRTY_MEMORY_H

#include <stdint.h>
#include <sys/types.h>

/* Resident bytes of a process (/proc/PID/statm); 0 if it is gone. */
uint64_t dirty_rss_bytes(pid_t pid);

/* How many processes the OOM killer has ended in our cgroup (memory.events, cgroup v2);
 * 0 where that can't be read. A rise tells that a SIGKILL was likely its. */
uint64_t dirty_oom_kills(void);

#endif
