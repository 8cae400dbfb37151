/* lua_modules: the runtime's own Lua modules and lua-cjson, read once, before the first
 * fork.
 *
 * Each worker makes a new Lua state and loads the modules. If it read them from their
 * files, a package upgrade would give a running runtime modules of another version, and
 * the next worker might not boot. So `dirty serve` reads all of them at its start, and
 * every later state of it and of its children gets them from memory. Apps and
 * configurations are not kept: a reload reads them anew.
 *
 * lua-cjson is loaded from a copy in memory (memfd_create(2)). The pages of a library
 * that is loaded from its file change when somebody overwrites the file.
 *
 * Global to the process, like the log. */
#ifndef DIRTY_LUA_MODULES_H
#define DIRTY_LUA_MODULES_H

#include <lua.h>

/* Keep all modules of `dir`/dirty, from dirty/a/b.lua as "dirty.a.b". Returns 0, or
 * -errno with the path that failed in `at`, which has PATH_MAX bytes. */
int dirty_lua_modules_read(const char *dir, char *at);

/* Keep a module that is written in C. `name` is borrowed for ever. */
void dirty_lua_modules_add(const char *name, lua_CFunction open);

/* Keep lua-cjson from this file. Where the system refuses to run a copy in memory, it
 * stays with the file. Returns 0 or -errno. */
int dirty_lua_modules_keep_cjson(const char *path);

/* Let `require` in this state find the kept modules, before any file. Raises a Lua error
 * if memory runs out. [-0, +0, m] */
void dirty_lua_modules_open(lua_State *L);

#endif
