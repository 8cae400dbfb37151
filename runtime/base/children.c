#include "base/children.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/proc.h"

bool dirty_children_listed(dirty_visit *visit, void *arg) {
    char path[64];
    int pid;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)gettid());
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    while (fscanf(f, "%d", &pid) == 1)
        visit(pid, arg);
    fclose(f);
    return true;
}

void dirty_children_scanned(dirty_visit *visit, void *arg) {
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return;
    const struct dirent *entry;
    dirty_proc found;
    while ((entry = readdir(proc)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]) &&
            dirty_proc_read((pid_t)strtol(entry->d_name, NULL, 10), &found) == 0 &&
            found.parent == getpid())
            visit(found.pid, arg);
    closedir(proc);
}

void dirty_children(dirty_visit *visit, void *arg) {
    if (!dirty_children_listed(visit, arg))
        dirty_children_scanned(visit, arg);
}
