/* exit_hook: calls the configuration's hook worker_exit for workers that have ended.
 *
 * The hook is the operator's code: it may take any time and wait for anything. So each
 * call runs in a child of the arbiter, forked for it: a copy of the state that has read
 * the configuration. Nobody waits for it but the end of the runtime and the worker's
 * slot, which is filled again when the call has returned.
 *
 *   due ──fork──► runs ──returns──► gone
 *    │              └── takes longer than EXIT_HOOK_MS: killed, with what it started,
 *    └── left out, for EXIT_HOOK_REST_MS after that
 *
 * EXIT_HOOKS_AT_ONCE calls run at a time. */
#ifndef DIRTY_ARBITER_EXIT_HOOK_H
#define DIRTY_ARBITER_EXIT_HOOK_H

#include "arbiter/internal.h"

#define EXIT_HOOK_MS 2000
#define EXIT_HOOK_REST_MS 30000

/* The worker was reaped: call the hook, if there is one. It is gone (worker_is_gone) when
 * that has returned, now or later. */
void exit_hook_call(worker *w);

/* SIGCHLD: a call may have returned. */
void exit_hooks_reap(arbiter *a);

#endif
