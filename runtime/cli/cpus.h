/* cpus: the number of CPUs this process may use, which may be less than the machine has.
 *
 * It is the smaller of the affinity mask and the cgroup's CPU quota: v2 cpu.max, v1
 * cpu.cfs_quota_us, of the process's own group and every group above it. */
#ifndef DIRTY_CPUS_H
#define DIRTY_CPUS_H

/* Returns at least 1. A fraction of a CPU in a quota counts as a whole one. */
unsigned dirty_cpus_usable(void);

/* The cgroup quota only, in a file system rooted at `root` ("" for the real one). 0: no
 * quota. */
unsigned dirty_cpus_cgroup(const char *root);

#endif
