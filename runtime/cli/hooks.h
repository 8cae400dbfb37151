/* hooks: calls the hook functions of the configuration file.
 *
 *   on_starting(arbiter)          arbiter = {pid=}
 *   post_fork(worker)             worker = {number=, pid=, generation=, apps={name, ...}}
 *   worker_init(worker)
 *   worker_exit(worker, status)   status = {exit=N} or {signal=N, name="SIGSEGV"}
 *
 * They run in the configuration's Lua state. Workers, and the children that call
 * worker_exit (arbiter/exit_hook.h), have a copy of it by fork. Each call is protected:
 * an error is logged with its traceback and has no other effect. */
#ifndef DIRTY_HOOKS_H
#define DIRTY_HOOKS_H

#include <lua.h>

#include "arbiter/arbiter.h"

/* Make `out` call the functions of the table at the absolute `index`, by hook name.
 * Missing ones become NULL. Pushes a value that holds what `out` refers to. Keep that
 * value reachable, and L open, while `out` is used. May raise. [-0, +1] */
void dirty_hooks_push(lua_State *L, int index, dirty_hooks *out);

#endif
