#include "cli/paths.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/search_path.h"

/* Extra module paths, for a LuaJIT that does not search the system's places
 * (Makefile). */
#ifndef DIRTY_MORE_LUA
#define DIRTY_MORE_LUA ""
#define DIRTY_MORE_C ""
#endif

static const char registry_key; /* its address is the key of the templates */

/* The Lua modules' directory, relative to the executable's; and the directory of `apps`,
 * relative to the modules'. For a checkout, `make install` and a rock. */
static const char *const lua_dirs[] = {"../lua", "../../lua", "../share/lua/5.1", NULL};
static const char *const app_dirs[] = {"..", "../../lua-dirty", "lua-dirty", NULL};

/* Push the directory of the executable. [-0, +1] */
static const char *push_exe_dir(lua_State *L) {
    char exe[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (len <= 0)
        luaL_error(L, "/proc/self/exe can't be read: is /proc mounted?");
    exe[len] = '\0';
    char *slash = strrchr(exe, '/');
    lua_pushlstring(L, exe, slash != NULL ? (size_t)(slash - exe) : 0);
    return lua_tostring(L, -1);
}

static bool holds(lua_State *L, const char *dir, const char *file) {
    bool found = access(lua_pushfstring(L, "%s/%s", dir, file), R_OK) == 0;
    lua_pop(L, 1);
    return found;
}

/* Push the real path of the first of `dirs`, relative to `base`, that contains `file`.
 * Returns false and pushes nothing if none does. [-0, +(0|1)] */
static bool push_dir(lua_State *L, const char *base, const char *const *dirs,
                     const char *file) {
    for (; *dirs != NULL; dirs++) {
        char dir[PATH_MAX];
        lua_pushfstring(L, "%s/%s", base, *dirs);
        bool there = realpath(lua_tostring(L, -1), dir) != NULL;
        lua_pop(L, 1);
        if (there && holds(L, dir, file)) {
            lua_pushstring(L, dir);
            return true;
        }
    }
    return false;
}

/* Set templates.own to the directory of our Lua modules; and templates.lua and
 * templates.apps to what finds them and the included apps, "" if there is none. Without
 * our own modules only LuaJIT's places are used. [-0, +0] */
static void set_lua_templates(lua_State *L, int templates, const char *exe_dir) {
    lua_pushliteral(L, "");
    lua_pushliteral(L, "");
    if (push_dir(L, exe_dir, lua_dirs, "dirty/cli.lua")) {
        const char *dir = lua_tostring(L, -1);
        lua_pushvalue(L, -1);
        lua_setfield(L, templates, "own");
        lua_pushfstring(L, "%s/?.lua;%s/?/init.lua", dir, dir);
        lua_replace(L, -4);
        if (push_dir(L, dir, app_dirs, "apps/echo.lua")) {
            lua_pushfstring(L, "%s/?.lua", lua_tostring(L, -1));
            lua_replace(L, -4);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    lua_setfield(L, templates, "apps");
    lua_setfield(L, templates, "lua");
}

/* Set package[field] to templates[own] followed by the absolute templates of
 * templates[original]. package and templates are absolute indices. [-0, +0] */
static void set_search(lua_State *L, int package, const char *field, int templates,
                       const char *own, const char *original) {
    size_t len;
    lua_getfield(L, templates, own);
    lua_getfield(L, templates, original);
    const char *all = lua_tolstring(L, -1, &len);
    char *absolute = lua_newuserdata(L, len + 1);
    dirty_search_path_absolute(all, absolute);
    lua_pushfstring(L, "%s;%s", lua_tostring(L, -3), absolute);
    lua_setfield(L, package, field);
    lua_pop(L, 3);
}

/* Set templates[original] to package[field], LuaJIT's default, followed by `more`.
 * [-0, +0] */
static void keep_default(lua_State *L, int package, const char *field, int templates,
                         const char *original, const char *more) {
    lua_getfield(L, package, field);
    if (*more != '\0') {
        lua_pushfstring(L, "%s;%s", lua_tostring(L, -1), more);
        lua_remove(L, -2);
    }
    lua_setfield(L, templates, original);
}

void dirty_paths_setup(lua_State *L) {
    lua_getglobal(L, "package");
    int package = lua_gettop(L);
    lua_createtable(L, 0, 6);
    int templates = lua_gettop(L);
    const char *exe_dir = push_exe_dir(L);
    set_lua_templates(L, templates, exe_dir);
    const char *slash = strrchr(exe_dir, '/');
    lua_pushlstring(L, exe_dir, slash != NULL ? (size_t)(slash - exe_dir) : 0);
    lua_pushfstring(L, "%s/lua/?.so;%s/lib/lua/5.1/?.so", exe_dir, lua_tostring(L, -1));
    lua_setfield(L, templates, "c");
    keep_default(L, package, "path", templates, "default_lua", DIRTY_MORE_LUA);
    keep_default(L, package, "cpath", templates, "default_c", DIRTY_MORE_C);
    set_search(L, package, "path", templates, "lua", "default_lua");
    set_search(L, package, "cpath", templates, "c", "default_c");
    lua_pushlightuserdata(L, (void *)&registry_key);
    lua_pushvalue(L, templates);
    lua_rawset(L, LUA_REGISTRYINDEX);
    lua_settop(L, package - 1);
}

void dirty_paths_push(lua_State *L) {
    lua_pushlightuserdata(L, (void *)&registry_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
}
