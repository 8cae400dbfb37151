/* aside: the part of dirty.sys that runs Lua which may do anything and take any time, the
 * configuration's file, in a process that is about to serve. */
#ifndef DIRTY_CLI_FORKED_H
#define DIRTY_CLI_FORKED_H

#include <lua.h>

/* Add to the table on top of the stack:
 *   aside(f, ms) -> line | nil, text
 *       Call f in a child of this process, which may take so many ms and is killed then,
 *       with what it has started in its process group. What it prints is captured
 *       (base/capture.h). What f returns, which must be a
 *       line with its newline; nil, and why, where there is none.
 *   bounded(f) -> true | nil, text
 *       Call f here, with the limit of cli/timelimit.h. nil with its error if it raises.
 *   odd_file(path) -> nil | "FIFO" | "socket" | "device"
 *       What is there, if it may never end when it is read. It may be /dev/null, and a
 *       descriptor of our own by its name (/dev/stdin), whatever that is.
 *   end_after(ms, status, text)      end_after(nil)
 *       This process is to end after so many ms with that status and text on stderr, and
 *       what it has started by then; or not any more. Before anything is served.
 * May raise. [-0, +0] */
void dirty_forked_register(lua_State *L);

#endif
