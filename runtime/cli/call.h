/* call: one call by libdirty, for the command line. Values stay as they are on the wire,
 * bytes or JSON text, because a conversion to Lua tables would lose information. */
#ifndef DIRTY_CLI_CALL_H
#define DIRTY_CLI_CALL_H

#include <lua.h>

/* Add to the table on top of the stack:
 *
 *   call{socket=, app=|nil (the runtime itself), action=, timeout_ms=, max_message=,
 *        args={{tag, data}, ...},
 *        priority=|nil, metadata=|nil}
 *     -> {{tag, data}, ...}
 *      | nil, {code=, message=, details= (JSON text), started=}
 *   stream{as for call} -> stream | nil, {as of call}
 *   next_chunk(stream) -> {{tag, data}, ...} | nothing, at the end | nil, {as of call}
 *   default_socket() -> path
 *
 * tag is "b" or "j" (JSON text); metadata is JSON text. May raise. [-0, +0] */
void dirty_cli_call_register(lua_State *L);

#endif
