/* lua_call: the bodies of protected calls into an app. They push the function and its
 * arguments, call it, and encode the results. The host puts them into slots of its Lua
 * stack and calls them with lua_pcall. For the host's own files alone. */
#ifndef DIRTY_LUA_CALL_H
#define DIRTY_LUA_CALL_H

#include <lua.h>

/* SLOT_CALL, (object, own call) → results. They stay on the stack while they are sent. */
int dirty__run_call(lua_State *L);

/* SLOT_STEP, (function, state, control) → values of the next chunk. */
int dirty__run_step(lua_State *L);

#endif
