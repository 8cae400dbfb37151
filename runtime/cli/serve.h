/* serve: the part of dirty.sys that probes the apps and runs the runtime. */
#ifndef DIRTY_SERVE_H
#define DIRTY_SERVE_H

#include <lua.h>

/* Add to the table on top of the stack:
 *
 *   probe(options, boot, captured) -> lines | nil, text, errno
 *       See worker/probe.h. If `captured`, the apps' output is captured (base/capture.h).
 *   serve(options) -> exit status        returns when the runtime has ended
 *   log_open(path|nil, level, format|nil) -> true | nil, text, errno
 *   loaded_open() -> true | nil, text, errno
 *   loaded(path)                                                       (base/loaded.h)
 *   log(level, text)       log_level(level)
 *   log_echo(boolean)      log_told(text)                                 (base/log.h)
 *
 * `options` is the table of cli/options.h. May raise. [-0, +0] */
void dirty_serve_register(lua_State *L);

#endif
