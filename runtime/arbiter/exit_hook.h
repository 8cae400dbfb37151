/* exit_hook: calls the configuration's hook worker_exit for workers that have ended.
 *
 * The hook is the operator's code: it may take any time and may block. So each call runs
 * in its own child, forked from the arbiter with the configuration already read. Only two
 * things wait for a call: the end of the runtime, and the worker's slot, which is filled
 * again after the call.
 *
 *   due ──fork──► runs ──returns──► gone
 *    │              └── longer than EXIT_HOOK_MS: killed with its process group
 *    └── skipped for EXIT_HOOK_REST_MS after a kill
 *
 * At most EXIT_HOOKS_AT_ONCE calls run at a time. */
#ifndef DIRTY_ARBITER_EXIT_HOOK_H
#define DIRTY_ARBITER_EXIT_HOOK_H

#include "arbiter/internal.h"

#define EXIT_HOOK_MS 2000
#define EXIT_HOOK_REST_MS 30000

/* Call the hook, if there is one, for a reaped worker. The worker is gone
 * (worker_is_gone) when the hook has returned, now or later. */
void exit_hook_call(worker *w);

/* Reap hook calls that have returned. Called on SIGCHLD. */
void exit_hooks_reap(arbiter *a);

#endif
