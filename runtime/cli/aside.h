/* aside: the part of dirty.sys that runs Lua which may do anything and take any time, the
 * configuration's file, in a process that is about to serve. */
#ifndef DIRTY_CLI_ASIDE_H
#define DIRTY_CLI_ASIDE_H

#include <lua.h>

/* Add to the table on top of the stack:
 *   aside(f, ms) -> line | nil, text
 *       Call f in a child of this process, which may take so many ms and is killed then,
 *       with what it has started in its process group. What it prints is captured
 *       (base/capture.h). What f returns, which must be a
 *       line with its newline; nil, and why, where there is none.
 *   bounded(f) -> true | nil, text
 *       Call f here, with the limit of cli/bounded.h. nil with its error if it raises.
 * May raise. [-0, +0] */
void dirty_aside_register(lua_State *L);

#endif
