/* lua_error: turns a Lua error into the lane's error: its code, its message and whether
 * the app may have run. For the host's own files alone. */
#ifndef DIRTY_LUA_ERROR_H
#define DIRTY_LUA_ERROR_H

#include <lua.h>

#include "worker/lua_host.h"

/* SLOT_ON_ERROR, the message handler: keeps the traceback and returns the error object
 * unchanged. */
int dirty__on_error(lua_State *L);

/* SLOT_DESCRIBE, (error): fills the host's failure. */
int dirty__describe(lua_State *L);

/* Fill the failure from the error on top of the stack. `status` is lua_pcall's. Returns
 * DIRTY_OUTCOME_FAILED. */
dirty_outcome dirty__fail(dirty_host *h, int status);

#endif
