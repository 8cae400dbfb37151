/* bounded: a call in Lua that must not take long, as everybody waits for it: what the
 * configuration has to do in the arbiter while that serves.
 *
 * Nothing is compiled meanwhile, as compiled code looks at no hooks. When the time is
 * over every further instruction raises until the call has returned, every system call is
 * ended by a signal (SIGALRM) again and again, and the child processes that the call has
 * started are killed: os.execute and io.popen wait for those, the latter even when its
 * handle is collected. Not to be ended are __gc, a message handler of xpcall and C
 * functions that go on after EINTR or need no system call: for those there is the
 * supervisor (supervisor/watchdog.h).
 *
 * What Lua prints meanwhile is captured (base/capture.h), and the collector runs: where
 * others wait it is to be stopped outside of such calls. */
#ifndef DIRTY_CLI_TIMELIMIT_H
#define DIRTY_CLI_TIMELIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

/* What such a call may take. */
#define DIRTY_TIMELIMIT_MS 2000

/* The call has returned, but after its time: what it waited for may have been ended. */
#define DIRTY_TIMELIMIT_LATE (-1)

/* lua_cpcall, with an error raised in what it calls after `ms`. Returns what that does,
 * or DIRTY_TIMELIMIT_LATE with a message. In the main thread alone, not nested. A hook
 * that L has is lost. [-0, +(0|1), -] */
int dirty_timelimit_cpcall(lua_State *L, lua_CFunction function, void *arg, uint32_t ms);

/* Collect all garbage, for `ms` at the most. What the configuration has made may wait for
 * anything when it is collected, as a handle of io.popen waits for its program. When the
 * time is over programs are killed that were there before the last call above began
 * (`former`), or those since. */
void dirty_timelimit_collect(lua_State *L, uint32_t ms, bool former);

/* Where nobody waits yet, and nothing is held: the process ends with `status` after `ms`,
 * with `text` (cut at 1 KB) on stderr, whatever it does then, and what it has started
 * since is killed; unless that is lifted before. */
void dirty_timelimit_end(uint32_t ms, int status, const char *text);
void dirty_timelimit_lift(void);

/* The process ends with `status` within `ms`, whatever it waits for then: finalizers. */
void dirty_timelimit_exit(int status, uint32_t ms);

#endif
