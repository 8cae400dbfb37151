/* core: libdirty for Lua 5.1, LuaJIT and 5.4, as the C module dirty.core.
 *
 * It passes strings and knows no JSON. lua/dirty/client.lua converts values and is the
 * public API. A program with this module built in sets package.preload["dirty.core"] to
 * the loader below. */
#ifndef DIRTY_LUABIND_CORE_H
#define DIRTY_LUABIND_CORE_H

#include <lua.h>

#include "dirty.h"

/* [-0, +1, m]
 *
 *   open(socket | nil, timeout_ms, max_message) -> handle
 *       Raises if there is no memory; else never fails. Calls report a bad path.
 *   call(handle, app, action, settings, args, count, tags | nil)
 *       -> tags | nil, value…      every value is a string; tags has a "b" or "j" for
 *                                  each, nil: all are "b"
 *       -> false, code, message, details, started, http_status
 *       args[1…count] are strings, tags as above; settings is a table with budget_ms,
 *       priority and metadata (JSON text, or nil).
 *   stream(…as call) -> stream
 *       -> false, code, …          as call
 *       The handle takes no other call until the stream has ended. Keep the handle and
 *       the arguments until then. Collecting the stream closes it.
 *   next(handle, stream) -> tags | nil, value…     a chunk
 *       -> nothing at all          the end
 *       -> false, code, …          as call
 *   leave(stream)      closes it; no next after this
 *   close(handle)      closes the connection; the next call connects again
 *   socket(handle)     -> path
 *   default_socket()   -> path
 *   version()          -> "0.1.0" */
DIRTY_API int luaopen_dirty_core(lua_State *L);

#endif
