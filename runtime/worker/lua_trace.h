/* lua_trace: a traceback as text, made without the Lua heap: in a hook, where the heap
 * may be full and a step of its collector would run the app's finalizers. */
#ifndef DIRTY_LUA_TRACE_H
#define DIRTY_LUA_TRACE_H

#include <stddef.h>

struct lua_State;

/* Write where L is, innermost first, and, where L is a coroutine, where `main` is; at
 * most `size` bytes, which must be some, with a NUL at the end. Of deep stacks the middle
 * is left out. Returns the length without the NUL. [-0, +0, -] */
size_t dirty_lua_trace(struct lua_State *L, struct lua_State *main, char *out,
                       size_t size);

#endif
