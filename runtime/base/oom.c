#include "base/oom.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* One cgroup hierarchy: its mount point, the group that is visible there, and the group
 * of this process. */
typedef struct hierarchy {
    char mount[PATH_MAX], top[PATH_MAX], own[PATH_MAX]; /* "": there is none */
} hierarchy;

static void keep(char *out, const char *text) {
    snprintf(out, PATH_MAX, "%s", text);
}

/* Whether `word` is in the comma-separated `list`. */
static bool lists(const char *list, const char *word) {
    size_t len = strlen(word);
    while (list != NULL) {
        if (strncmp(list, word, len) == 0 && (list[len] == ',' || list[len] == '\0'))
            return true;
        list = strchr(list, ',');
        list += list != NULL;
    }
    return false;
}

static FILE *open_at(const char *root, const char *path) {
    char whole[PATH_MAX];
    if ((size_t)snprintf(whole, sizeof whole, "%s%s", root, path) >= sizeof whole)
        return NULL;
    return fopen(whole, "re");
}

/* Parse lines "ID:controllers:path". The line of v2 is "0::path". */
static void find_own(const char *root, hierarchy *v2, hierarchy *v1) {
    char line[PATH_MAX + 256];
    FILE *f = open_at(root, "/proc/self/cgroup");
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = '\0';
        if (strncmp(line, "0:", 2) == 0)
            keep(v2->own, path);
        else if (lists(controllers + 1, "memory"))
            keep(v1->own, path);
    }
    fclose(f);
}

/* Parse lines "36 35 98:0 TOP MOUNT options… - TYPE source superoptions". */
static void find_mounts(const char *root, hierarchy *v2, hierarchy *v1) {
    char line[2 * PATH_MAX + 1024], top[PATH_MAX], mount[PATH_MAX], type[32], super[1024];
    FILE *f = open_at(root, "/proc/self/mountinfo");
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) != NULL) {
        const char *rest = strstr(line, " - ");
        if (rest == NULL || sscanf(line, "%*s %*s %*s %4095s %4095s", top, mount) != 2 ||
            sscanf(rest, " - %31s %*s %1023s", type, super) != 2)
            continue;
        bool is_v2 = strcmp(type, "cgroup2") == 0;
        if (!is_v2 && (strcmp(type, "cgroup") != 0 || !lists(super, "memory")))
            continue;
        keep(is_v2 ? v2->mount : v1->mount, mount);
        keep(is_v2 ? v2->top : v1->top, top);
    }
    fclose(f);
}

/* Read the line "oom_kill N" of a file. False if there is none. */
static bool count(const char *path, uint64_t *out) {
    char line[256];
    unsigned long long kills = 0;
    bool found = false;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    while (!found && fgets(line, sizeof line, f) != NULL)
        found = sscanf(line, "oom_kill %llu", &kills) == 1;
    fclose(f);
    *out = kills;
    return found;
}

static bool try_file(dirty_oom *o, const char *root, const char *mount, const char *own,
                     const char *file) {
    size_t n = (size_t)snprintf(o->path, sizeof o->path, "%s%s%s/%s", root, mount,
                                strcmp(own, "/") == 0 ? "" : own, file);
    return n < sizeof o->path && count(o->path, &o->told);
}

/* In a container our path may be that of the host while the mount shows our group itself.
 * So try both. */
static bool try_hierarchy(dirty_oom *o, const char *root, const hierarchy *h,
                          const char *file) {
    if (h->mount[0] == '\0')
        return false;
    size_t len = strcmp(h->top, "/") == 0 ? 0 : strlen(h->top);
    bool below = strncmp(h->own, h->top, len) == 0;
    return (below && try_file(o, root, h->mount, h->own + len, file)) ||
           try_file(o, root, h->mount, "", file);
}

void dirty_oom_open(dirty_oom *o, const char *root, uint64_t now_ns) {
    hierarchy v2 = {"", "", ""}, v1 = {"", "", ""};
    find_own(root, &v2, &v1);
    find_mounts(root, &v2, &v1);
    *o = (dirty_oom){.mark_ns = now_ns};
    if (!try_hierarchy(o, root, &v2, "memory.events") &&
        !try_hierarchy(o, root, &v1, "memory.oom_control") &&
        !try_file(o, root, "/proc", "", "vmstat"))
        o->path[0] = '\0';
    o->mark = o->told;
}

bool dirty_oom_take(dirty_oom *o) {
    uint64_t kills;
    if (o->path[0] == '\0' || !count(o->path, &kills) || kills <= o->told)
        return false;
    o->told++;
    return true;
}

void dirty_oom_forget(dirty_oom *o, uint64_t now_ns) {
    uint64_t kills;
    if (o->path[0] == '\0' || now_ns - o->mark_ns < DIRTY_OOM_MARK_MS * DIRTY_NS_PER_MS)
        return;
    if (o->told < o->mark)
        o->told = o->mark;
    if (count(o->path, &kills))
        o->mark = kills;
    o->mark_ns = now_ns;
}
