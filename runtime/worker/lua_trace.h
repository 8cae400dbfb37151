/* lua_trace: writes a traceback as text without using the Lua heap. For hooks: the heap
 * may be full there, and a step of the collector would run finalizers of apps. */
#ifndef DIRTY_LUA_TRACE_H
#define DIRTY_LUA_TRACE_H

#include <stddef.h>

struct lua_State;

/* Write the stack of L, innermost frame first. If L is a coroutine, write that of `main`
 * too. Writes at most `size` bytes (> 0) with a NUL at the end. Leaves out the middle of
 * deep stacks. Returns the length without the NUL. [-0, +0, -] */
size_t dirty_lua_trace(struct lua_State *L, struct lua_State *main, char *out,
                       size_t size);

#endif
