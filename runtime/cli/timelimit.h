/* timelimit: a time limit for a Lua call that others wait for: the configuration's code
 * that runs in the arbiter while it serves.
 *
 * JIT compilation is off during the call, because compiled code does not run hooks. After
 * the limit every VM instruction raises until the call has returned. SIGALRM interrupts
 * every system call, repeatedly. The child processes of the call are killed, because
 * os.execute and io.popen wait for them; io.popen does so even when its handle is
 * collected.
 *
 * Not covered: __gc, a message handler of xpcall, and C functions that continue after
 * EINTR or make no system call. If one of these hangs, the supervisor kills the arbiter
 * (supervisor/watchdog.h).
 *
 * During the call Lua's output is captured (base/capture.h) and the collector runs. Keep
 * the collector stopped outside of such calls in a process that others wait for. */
#ifndef DIRTY_CLI_TIMELIMIT_H
#define DIRTY_CLI_TIMELIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

/* The limit for such a call. */
#define DIRTY_TIMELIMIT_MS 2000

/* The call has returned, but after the limit: system calls or programs may have been
 * ended. */
#define DIRTY_TIMELIMIT_LATE (-1)

/* lua_cpcall with a time limit: raises an error in the called function after `ms`.
 * Returns what lua_cpcall does, or DIRTY_TIMELIMIT_LATE with a message. Only in the main
 * thread; do not nest. Removes a hook of L. [-0, +(0|1), -] */
int dirty_timelimit_cpcall(lua_State *L, lua_CFunction function, void *arg, uint32_t ms);

/* Collect all garbage, for at most `ms`. Finalizers may block: a handle of io.popen waits
 * for its program. After the limit, child programs are killed: with `former` those that
 * existed before the last dirty_timelimit_cpcall began, else those started since. */
void dirty_timelimit_collect(lua_State *L, uint32_t ms, bool former);

/* End the process with `status` after `ms`, whatever it does then, with `text` (cut at 1
 * KB) on stderr; kill what it has started since. dirty_timelimit_lift cancels this. Only
 * for a process that nobody waits for yet. */
void dirty_timelimit_end(uint32_t ms, int status, const char *text);
void dirty_timelimit_lift(void);

/* End the process with `status`, within `ms` even if finalizers block. */
void dirty_timelimit_exit(int status, uint32_t ms);

#endif
