/* memory: what the kernel says of memory. */
#ifndef DIRTY_MEMORY_H
#define DIRTY_MEMORY_H

#include <stdint.h>
#include <sys/types.h>

/* Resident bytes of a process (/proc/PID/statm); 0 if it is gone. */
uint64_t dirty_proc_rss_bytes(pid_t pid);

#endif
