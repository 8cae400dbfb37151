/* hooks: the functions of the configuration file, called where the runtime says.
 *
 *   on_starting(arbiter)          arbiter = {pid=}
 *   post_fork(worker)             worker = {number=, pid=, generation=, apps={name, ...}}
 *   worker_init(worker)
 *   worker_exit(worker, status)   status = {exit=N} or {signal=N, name="SIGSEGV"}
 *
 * They run in the configuration's Lua state (a worker has its copy by fork), each under a
 * protected call: one that raises is logged with its traceback and changes nothing. */
#ifndef DIRTY_HOOKS_H
#define DIRTY_HOOKS_H

#include <lua.h>

#include "arbiter/arbiter.h"

/* Keep the table at `index` of functions by name of hook in L's registry and make `out`
 * call those that are there; the others stay NULL. L must outlive the use of out.
 * May raise. [-0, +0] */
void dirty_hooks_init(lua_State *L, int index, dirty_hooks *out);

#endif
