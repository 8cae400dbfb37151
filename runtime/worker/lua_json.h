/* lua_json: encodes a Lua value as JSON text, with every number exact. Only the files of
 * the Lua host use it.
 *
 * A lane decodes with lua-cjson but does not encode with it: it writes numbers with 14
 * digits, so 1234567890123456 and 0.1 + 0.2 would change, and it has no hook for numbers.
 * This encoder keeps lua-cjson's rules and error messages. An array has integers from 1
 * up as keys. Holes are null. An empty table is {}. The array marks of newer versions
 * count if lua-cjson has them. Metamethods do not count. One rule differs: a table with
 * an index over 2^31 - 1, which lua-cjson can't count, is an object. */
#ifndef DIRTY_LUA_JSON_H
#define DIRTY_LUA_JSON_H

struct lua_State;

/* A lua_CFunction: (cjson, max_depth) → encode, a function (value) → text. encode raises
 * if it can't write the value. `cjson` is the module whose array marks count. The
 * function belongs to its Lua state and keeps a buffer. */
int dirty_lua_json_encoder(struct lua_State *L);

#endif
