/* lua_json: the JSON text of a Lua value, with every number in it exact. One of the few
 * files that see lua.h; for the host alone.
 *
 * lua-cjson, which reads JSON here, would write numbers with 14 digits: 1234567890123456
 * and 0.1 + 0.2 would become others, and it has no hook for them. So the writer is ours.
 * It keeps lua-cjson's rules and its words: an array has integers from 1 up as keys,
 * holes are null, an empty table is {}, the marks for arrays of newer versions count
 * where they are there, metamethods do not. One rule is ours: a table with an index over
 * 2^31 - 1, too large for lua-cjson to count, is an object. */
#ifndef DIRTY_LUA_JSON_H
#define DIRTY_LUA_JSON_H

struct lua_State;

/* For Lua, (cjson, max_depth) → encode, a function (value) → text that raises what can't
 * be written. `cjson` is the module whose marks for arrays count. The function belongs to
 * its Lua state, and keeps a buffer. */
int dirty_lua_json_encoder(struct lua_State *L);

#endif
