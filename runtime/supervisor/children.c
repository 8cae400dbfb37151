#include "supervisor/children.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The parent's id is the second field behind the name, which ends at the last ')'. */
static pid_t parent_of(const char *pid_text) {
    char path[64], text[512];
    int parent = -1;
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid_text);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return -1;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *name_end = strrchr(text, ')');
    if (name_end == NULL || sscanf(name_end + 1, " %*c %d", &parent) != 1)
        return -1;
    return parent;
}

void dirty_children_scanned(dirty_visit *visit, void *arg) {
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return;
    const struct dirent *entry;
    while ((entry = readdir(proc)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]) &&
            parent_of(entry->d_name) == getpid())
            visit((pid_t)strtol(entry->d_name, NULL, 10), arg);
    closedir(proc);
}

void dirty_children(dirty_visit *visit, void *arg) {
    if (!dirty_children_listed(visit, arg))
        dirty_children_scanned(visit, arg);
}
