#include "worker/lua_modules.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than there are, and than any has. */
#define MODULES_MAX 200
#define SOURCE_MAX (1u << 20)
#define NAME_MAX_LEN 100
#define DEPTH_MAX 4
#define C_MODULES_MAX 8

typedef struct module {
    char name[NAME_MAX_LEN];
    char *chunk; /* owned for ever: "@" and the path, as tracebacks show it */
    char *source;
    size_t len;
} module;

static struct {
    module modules[MODULES_MAX];
    unsigned count;
    struct {
        const char *name;
        lua_CFunction open;
    } in_c[C_MODULES_MAX];
    unsigned in_c_count;
} kept;

/* -- Reading ----------------------------------------------------------------------- */

/* Read a whole file. Returns 0 or -errno. */
static int read_file(const char *path, char **out, size_t *len) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fstat(fd, &st) < 0 ? -errno : 0;
    if (rc == 0 && (!S_ISREG(st.st_mode) || st.st_size > SOURCE_MAX))
        rc = -EFBIG;
    size_t size = rc == 0 ? (size_t)st.st_size : 0, have = 0;
    *out = rc == 0 ? malloc(size + 1) : NULL;
    if (rc == 0 && *out == NULL)
        rc = -ENOMEM;
    while (rc == 0 && have < size) {
        ssize_t n = read(fd, *out + have, size - have);
        if (n <= 0)
            rc = n < 0 ? -errno : -EIO; /* somebody has cut it meanwhile */
        else
            have += (size_t)n;
    }
    close(fd);
    if (rc < 0)
        free(*out);
    *len = have;
    return rc;
}

/* Keep the module of this file. `name`: "dirty/a/b.lua" or "dirty/a/init.lua". */
static int keep(const char *path, const char *name) {
    module *m = &kept.modules[kept.count];
    size_t len = strlen(name) - strlen(".lua");
    if (kept.count == MODULES_MAX || len >= sizeof m->name)
        return -E2BIG;
    snprintf(m->name, sizeof m->name, "%.*s", (int)len, name);
    char *init = strstr(m->name, "/init");
    if (init != NULL && init[strlen("/init")] == '\0')
        *init = '\0';
    for (char *at = m->name; *at != '\0'; at++)
        if (*at == '/')
            *at = '.';
    if (asprintf(&m->chunk, "@%s", path) < 0)
        return -ENOMEM;
    int rc = read_file(path, &m->source, &m->len);
    if (rc < 0)
        free(m->chunk);
    else
        kept.count++;
    return rc;
}

static int read_dir(const char *dir, const char *name, int depth, char *at);

/* Keep what a name of a directory stands for: a module, more modules, or nothing. */
static int read_entry(const char *dir, const char *name, const struct dirent *e,
                      int depth, char *at) {
    char below[PATH_MAX];
    size_t len = strlen(e->d_name);
    struct stat st;
    if (e->d_name[0] == '.')
        return 0;
    if (snprintf(at, PATH_MAX, "%s/%s/%s", dir, name, e->d_name) >= PATH_MAX ||
        snprintf(below, sizeof below, "%s/%s", name, e->d_name) >= (int)sizeof below)
        return -ENAMETOOLONG;
    if (stat(at, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return read_dir(dir, below, depth + 1, at);
    return len > 4 && strcmp(e->d_name + len - 4, ".lua") == 0 ? keep(at, below) : 0;
}

static int read_dir(const char *dir, const char *name, int depth, char *at) {
    if (depth > DEPTH_MAX)
        return -ELOOP;
    if (snprintf(at, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
        return -ENAMETOOLONG;
    DIR *d = opendir(at);
    int rc = d == NULL ? -errno : 0;
    const struct dirent *e;
    while (rc == 0 && (errno = 0, e = readdir(d)) != NULL)
        rc = read_entry(dir, name, e, depth, at);
    if (rc == 0 && errno != 0)
        rc = -errno;
    if (d != NULL)
        closedir(d);
    return rc;
}

int dirty_lua_modules_read(const char *dir, char *at) {
    return read_dir(dir, "dirty", 0, at);
}

/* -- Modules in C ------------------------------------------------------------------ */

void dirty_lua_modules_add(const char *name, lua_CFunction open) {
    if (open == NULL || kept.in_c_count == C_MODULES_MAX)
        return;
    kept.in_c[kept.in_c_count].name = name;
    kept.in_c[kept.in_c_count++].open = open;
}

/* Files in memory are subject to the limit of file sizes too. */
static bool may_have(off_t size) {
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
           (rlim_t)size <= limit.rlim_cur;
}

/* A copy of the file in memory. Returns its descriptor or -errno. */
static int copy_to_memory(const char *path) {
    struct stat st = {0};
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return -errno;
    int to = memfd_create("cjson", MFD_CLOEXEC);
    int rc = to < 0 || fstat(from, &st) < 0 ? -errno : 0;
    if (rc == 0 && !may_have(st.st_size))
        rc = -EFBIG;
    while (rc == 0 && st.st_size > 0) {
        ssize_t n = sendfile(to, from, NULL, (size_t)st.st_size);
        if (n <= 0)
            rc = n < 0 ? -errno : -EIO;
        else
            st.st_size -= n;
    }
    close(from);
    if (rc < 0 && to >= 0)
        close(to);
    return rc < 0 ? rc : to;
}

static lua_CFunction find_function(void *library, const char *name) {
    lua_CFunction function;
    *(void **)&function = dlsym(library, name); /* as POSIX says it is to be done */
    return function;
}

int dirty_lua_modules_keep_cjson(const char *path) {
    char name[40];
    int fd = copy_to_memory(path);
    if (fd < 0)
        return fd;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL); /* it stays loaded */
    close(fd);
    if (library == NULL)
        return -ENOEXEC;
    dirty_lua_modules_add("cjson", find_function(library, "luaopen_cjson"));
    dirty_lua_modules_add("cjson.safe", find_function(library, "luaopen_cjson_safe"));
    return 0;
}

/* -- Finding ----------------------------------------------------------------------- */

/* A searcher of package.loaders: (name) → the module's chunk, or nothing. */
static int search(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    for (unsigned i = 0; i < kept.count; i++) {
        const module *m = &kept.modules[i];
        if (strcmp(m->name, name) != 0)
            continue;
        if (luaL_loadbuffer(L, m->source, m->len, m->chunk) != 0)
            return lua_error(L);
        return 1;
    }
    return 0;
}

void dirty_lua_modules_open(lua_State *L) {
    int top = lua_gettop(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    for (unsigned i = 0; i < kept.in_c_count; i++) {
        lua_pushcfunction(L, kept.in_c[i].open);
        lua_setfield(L, -2, kept.in_c[i].name);
    }
    if (kept.count > 0) {
        lua_getfield(L, top + 1, "loaders");
        for (int i = (int)lua_objlen(L, -1); i >= 2; i--) { /* behind package.preload */
            lua_rawgeti(L, -1, i);
            lua_rawseti(L, -2, i + 1);
        }
        lua_pushcfunction(L, search);
        lua_rawseti(L, -2, 2);
    }
    lua_settop(L, top);
}
