/* hooks: the functions of the configuration file, called where the runtime says.
 *
 *   on_starting(arbiter)          arbiter = {pid=}
 *   post_fork(worker)             worker = {number=, pid=, generation=, apps={name, ...}}
 *   worker_init(worker)
 *   worker_exit(worker, status)   status = {exit=N} or {signal=N, name="SIGSEGV"}
 *
 * They run in the configuration's Lua state (a worker has its copy by fork), each under a
 * protected call: one that raises is logged with its traceback and changes nothing. All
 * calls wait for worker_exit, so it has a limit of time (cli/bounded.h): that of one call
 * for all of them within 30 s, then it is left out, which is logged. */
#ifndef DIRTY_HOOKS_H
#define DIRTY_HOOKS_H

#include <lua.h>

#include "arbiter/arbiter.h"

/* Make `out` call the functions of the table at the absolute `index`, by name of hook;
 * those that are not there stay NULL. Pushes what out refers to: it must stay reachable,
 * and L open, while out is used. May raise. [-0, +1] */
void dirty_hooks_push(lua_State *L, int index, dirty_hooks *out);

#endif
