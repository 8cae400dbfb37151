/* hooks: the functions of the configuration file, called where the runtime says.
 *
 *   on_starting(arbiter)          arbiter = {pid=}
 *   post_fork(worker)             worker = {number=, pid=, generation=, apps={name, ...}}
 *   worker_init(worker)
 *   worker_exit(worker, status)   status = {exit=N} or {signal=N, name="SIGSEGV"}
 *
 * They run in the configuration's Lua state, of which workers and the children that call
 * worker_exit (arbiter/exit_hook.h) have a copy by fork, each under a protected call: one
 * that raises is logged with its traceback and changes nothing. */
#ifndef DIRTY_HOOKS_H
#define DIRTY_HOOKS_H

#include <lua.h>

#include "arbiter/arbiter.h"

/* Make `out` call the functions of the table at the absolute `index`, by name of hook;
 * those that are not there stay NULL. Pushes what out refers to: it must stay reachable,
 * and L open, while out is used. May raise. [-0, +1] */
void dirty_hooks_push(lua_State *L, int index, dirty_hooks *out);

#endif
