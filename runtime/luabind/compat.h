/* compat: differences between the C API of Lua 5.1 (and LuaJIT) and of 5.2 and later. */
#ifndef DIRTY_LUA_COMPAT_H
#define DIRTY_LUA_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM < 502
/* [-0, +1, m] Push a new table with the functions of `list`. */
static inline void dirty_lua_newlib(lua_State *L, const luaL_Reg *list) {
    lua_newtable(L);
    luaL_register(L, NULL, list);
}
#else
static inline void dirty_lua_newlib(lua_State *L, const luaL_Reg *list) {
    lua_newtable(L);
    luaL_setfuncs(L, list, 0);
}
#endif

#endif
