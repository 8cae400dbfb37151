#include "base/proc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What stands behind the name, which ends at the last ')': the state, the parent's id, 17
 * fields that are not looked at, and the birth. */
#define STAT_FORMAT \
    " %c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu"

static FILE *open_of(pid_t pid, const char *what) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
    return fopen(path, "re");
}

int dirty_proc_read(pid_t pid, dirty_proc *out) {
    char text[512], state;
    int parent;
    unsigned long long at;
    FILE *f = open_of(pid, "stat");
    if (f == NULL)
        return -1;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *name_end = strrchr(text, ')');
    if (name_end == NULL || sscanf(name_end + 1, STAT_FORMAT, &state, &parent, &at) != 3)
        return -1;
    *out = (dirty_proc){.pid = pid,
                        .at = at,
                        .parent = parent,
                        .has_ended = state == 'Z' || state == 'X'};
    return 0;
}

void dirty_proc_mark(void) {
    dirty_proc own;
    char text[48];
    if (dirty_proc_read(getpid(), &own) < 0) {
        unsetenv(DIRTY_PROC_MARK); /* not what whoever started us may have left there */
        return;
    }
    snprintf(text, sizeof text, "%d.%llu", (int)own.pid, (unsigned long long)own.at);
    setenv(DIRTY_PROC_MARK, text, 1);
}

int dirty_proc_marked_by(pid_t pid, dirty_proc *out) {
    FILE *f = open_of(pid, "environ");
    char *entry = NULL;
    size_t room = 0;
    int rc = -1, owner;
    unsigned long long at;
    if (f == NULL)
        return errno == EACCES ? -EACCES : -1;
    while (rc < 0 && getdelim(&entry, &room, '\0', f) > 0)
        if (sscanf(entry, DIRTY_PROC_MARK "=%d.%llu", &owner, &at) == 2) {
            *out = (dirty_proc){.pid = owner, .at = at};
            rc = 0;
        }
    free(entry);
    fclose(f);
    return rc;
}

bool dirty_proc_is_alive(const dirty_proc *who) {
    dirty_proc now;
    if (dirty_proc_read(who->pid, &now) == 0)
        return now.at == who->at && !now.has_ended;
    return kill(who->pid, 0) == 0 || errno != ESRCH;
}

uint64_t dirty_proc_rss_bytes(pid_t pid) {
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
