/* forked: the part of dirty.sys that runs untrusted Lua, such as the configuration file,
 * in a process that is about to serve. Such Lua may do anything and take any time. */
#ifndef DIRTY_CLI_FORKED_H
#define DIRTY_CLI_FORKED_H

#include <lua.h>

/* Add to the table on top of the stack:
 *
 *   aside(f, ms) -> line | nil, text
 *       Call f in a child of this process. After `ms` the child is killed, with its
 *       process group. Its output is captured (base/capture.h). f must return one
 *       newline-terminated string. Returns that string, or nil and an error message.
 *   bounded(f) -> true | nil, text
 *       Call f in this process, with the time limit of cli/timelimit.h. Returns nil and
 *       the error if f raises.
 *   odd_file(path) -> nil | "FIFO" | "socket" | "device"
 *       The type of the file, if reading it might never end. nil for /dev/null and for
 *       names of our own descriptors (/dev/stdin), whatever they are.
 *   end_after(ms, status, text)      end_after(nil)
 *       End this process after `ms` with that status and with text on stderr, and kill
 *       what it has started since; or cancel that. Only before anything is served.
 *
 * May raise. [-0, +0] */
void dirty_forked_register(lua_State *L);

#endif
