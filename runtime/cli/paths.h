/* paths: where the runtime's own Lua modules are, told from where its executable is.
 *
 *   a checkout     build/dirty        lua/?.lua                    build/lua/?.so
 *                  build/asan/dirty   the same                     build/asan/lua/?.so
 *   installed      PREFIX/bin/dirty   PREFIX/share/lua/5.1/?.lua PREFIX/lib/lua/5.1/?.so
 *
 * and where the apps are that come with it, `apps.echo` and the others:
 *
 *   a checkout     its root
 *   installed      PREFIX/share/lua-dirty; by LuaRocks TREE/share/lua/5.1/lua-dirty
 */
#ifndef DIRTY_PATHS_H
#define DIRTY_PATHS_H

#include <lua.h>

/* Set package.path and package.cpath of L to the runtime's own places and then LuaJIT's
 * defaults, LUA_PATH and LUA_CPATH among them, without the relative ones, wherever they
 * stand: no file of the directory that the command is started in can take a module's
 * place. A build with LUAJIT_PREFIX (Makefile) adds the system's places to these
 * defaults. Needs the package library. May raise. [-0, +0] */
void dirty_paths_setup(lua_State *L);

/* Push a table {lua=, c=, apps=, default_lua=, default_c=}: the templates of the
 * runtime's places, those of its apps ("" where there are none), and LuaJIT's
 * defaults. [-0, +1] */
void dirty_paths_push(lua_State *L);

#endif
