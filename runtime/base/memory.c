#include "base/memory.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

uint64_t dirty_rss_bytes(pid_t pid) {
    char path[40];
    unsigned long long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The path of our cgroup v2, from the line "0::/path" of /proc/self/cgroup. */
static int cgroup_path(char *out, size_t size) {
    char line[PATH_MAX];
    int rc = -1;
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (f == NULL)
        return -1;
    while (rc < 0 && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "0::", 3) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        rc =
            (size_t)snprintf(out, size, "/sys/fs/cgroup%s/memory.events", line + 3) < size
                ? 0
                : -1;
    }
    fclose(f);
    return rc;
}

uint64_t dirty_oom_kills(void) {
    char path[PATH_MAX], line[128];
    unsigned long long kills = 0;
    if (cgroup_path(path, sizeof path) < 0)
        return 0;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "oom_kill %llu", &kills) == 1)
            break;
    fclose(f);
    return kills;
}
