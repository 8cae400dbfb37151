/* core: libdirty for Lua 5.1, LuaJIT and 5.4, as the C module dirty.core.
 *
 * It moves strings and knows no JSON: lua/dirty/client.lua makes values of them and is
 * the API that people use. In a program that has it built in, put the loader below into
 * package.preload["dirty.core"]. */
#ifndef DIRTY_LUABIND_CORE_H
#define DIRTY_LUABIND_CORE_H

#include <lua.h>

#include "dirty.h"

/* [-0, +1, m]
 *
 *   open(socket | nil, timeout_ms, max_message) -> handle
 *       Never fails but for memory (raises): what is wrong with the path, the calls tell.
 *   call(handle, app, action, settings, args, count, tags | nil)
 *       -> tags | nil, value…      every value is a string; tags has a "b" or "j" for
 *                                  each, nil: all are "b"
 *       -> false, code, message, details, started, http_status
 *       args[1…count] are strings, tags as above; settings is a table with budget_ms,
 *       priority and metadata (JSON text, or nil).
 *   stream(…as call) -> stream
 *       -> false, code, …          as call
 *       The handle takes no other call until the stream has ended; it and the arguments
 *       must stay as long. A stream that is collected is left.
 *   next(handle, stream) -> tags | nil, value…     a chunk
 *       -> nothing at all          the end
 *       -> false, code, …          as call
 *   leave(stream)      no next after it
 *   close(handle)      ends the connection; the next call connects again
 *   socket(handle)     -> path
 *   default_socket()   -> path
 *   version()          -> "0.1.0" */
DIRTY_API int luaopen_dirty_core(lua_State *L);

#endif
