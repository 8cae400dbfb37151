#include "cli/cpus.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Limit of the affinity mask. The kernel's mask depends on the machine, so the buffer
 * grows until it fits. */
#define CPU_SET_MAX (1 << 16)

static unsigned affinity_count(void) {
    for (int cpus = 1024; cpus <= CPU_SET_MAX; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        if (set == NULL)
            return 1;
        size_t size = CPU_ALLOC_SIZE(cpus);
        CPU_ZERO_S(size, set);
        int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (count > 0)
            return (unsigned)count;
    }
    return 1;
}

static bool read_line(const char *path, char *line, int size) {
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool ok = fgets(line, size, file) != NULL;
    fclose(file);
    return ok;
}

static unsigned quota_cpus(long long quota, long long period) {
    if (quota <= 0 || period <= 0)
        return 0;
    long long cpus = quota / period + (quota % period != 0);
    return cpus > UINT_MAX ? UINT_MAX : (unsigned)cpus;
}

static unsigned quota_v2(const char *dir) {
    char path[PATH_MAX + 64], line[128];
    long long quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", dir);
    if (!read_line(path, line, sizeof line)) /* "200000 100000" or "max 100000" */
        return 0;
    return sscanf(line, "%lld %lld", &quota, &period) == 2 ? quota_cpus(quota, period)
                                                           : 0;
}

static unsigned quota_v1(const char *dir) {
    char path[PATH_MAX + 64], line[64];
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
    if (!read_line(path, line, sizeof line)) /* -1: none */
        return 0;
    long long quota = strtoll(line, NULL, 10);
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
    return read_line(path, line, sizeof line) ? quota_cpus(quota, strtoll(line, NULL, 10))
                                              : 0;
}

/* The smallest quota of `group` and the groups above it, below `mount`. Skips groups that
 * do not exist, because the path may be that of another namespace. */
static unsigned smallest_quota(const char *mount, const char *group,
                               unsigned (*quota)(const char *dir)) {
    char dir[PATH_MAX];
    int len = snprintf(dir, sizeof dir, "%s%s", mount, group);
    if (len < 0 || (size_t)len >= sizeof dir)
        return 0;
    unsigned smallest = 0;
    size_t top = strlen(mount);
    for (;;) {
        unsigned cpus = quota(dir);
        if (cpus > 0 && (smallest == 0 || cpus < smallest))
            smallest = cpus;
        char *slash = strrchr(dir, '/');
        if (slash == NULL || (size_t)(slash - dir) < top)
            return smallest;
        *slash = '\0';
    }
}

static bool has_word(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

/* The quota for one line of /proc/self/cgroup: "0::/group" or "4:cpu,cpuacct:/group". */
static unsigned line_quota(const char *root, char *line) {
    char mount[PATH_MAX];
    char *list = strchr(line, ':');
    char *group = list != NULL ? strchr(list + 1, ':') : NULL;
    if (group == NULL)
        return 0;
    *group++ = '\0';
    group[strcspn(group, "\n")] = '\0';
    if (strncmp(line, "0::", 2) == 0 && list[1] == '\0') {
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup", root);
        return smallest_quota(mount, group, quota_v2);
    }
    if (!has_word(list + 1, "cpu"))
        return 0;
    snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/cpu", root);
    return smallest_quota(mount, group, quota_v1);
}

unsigned dirty_cpus_cgroup(const char *root) {
    char path[PATH_MAX], line[PATH_MAX];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    unsigned smallest = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned cpus = line_quota(root, line);
        if (cpus > 0 && (smallest == 0 || cpus < smallest))
            smallest = cpus;
    }
    fclose(file);
    return smallest;
}

unsigned dirty_cpus_usable(void) {
    unsigned cpus = affinity_count();
    unsigned quota = dirty_cpus_cgroup("");
    return quota > 0 && quota < cpus ? quota : cpus;
}
