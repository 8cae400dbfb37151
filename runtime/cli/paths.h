/* paths: finds the runtime's own Lua modules, relative to its executable:
 *
 *   a checkout     build/dirty        lua/?.lua                    build/lua/?.so
 *                  build/asan/dirty   the same                     build/asan/lua/?.so
 *   installed      PREFIX/bin/dirty   PREFIX/share/lua/5.1/?.lua PREFIX/lib/lua/5.1/?.so
 *
 * and the apps that come with it, `apps.echo` and the others:
 *
 *   a checkout     its root
 *   installed      PREFIX/share/lua-dirty; by LuaRocks TREE/share/lua/5.1/lua-dirty */
#ifndef DIRTY_PATHS_H
#define DIRTY_PATHS_H

#include <lua.h>

/* Set package.path and package.cpath of L to the runtime's own places, followed by
 * LuaJIT's defaults, including LUA_PATH and LUA_CPATH. Relative templates are removed
 * everywhere, so that no file of the working directory can replace a module. A build with
 * LUAJIT_PREFIX (Makefile) adds the system's places to the defaults. Needs the package
 * library. May raise. [-0, +0] */
void dirty_paths_setup(lua_State *L);

/* Push a table {lua=, c=, apps=, default_lua=, default_c=}: the templates of the
 * runtime's places, those of its apps ("" if there are none), and LuaJIT's defaults.
 * [-0, +1] */
void dirty_paths_push(lua_State *L);

#endif
