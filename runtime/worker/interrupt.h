/* interrupt: ends the Lua code of a running call from outside, by an error that is raised
 * at its next instruction. The Lua state survives, with all that apps keep in it.
 *
 * The arbiter stores (seq, reason) in the lane's page and signals the lane's thread,
 * every 10 ms until the call is over (base/baton.h). The signal handler reads the page.
 * If the page names the call that runs here, the handler sets a count hook. The hook
 * takes the traceback and raises.
 *
 *   enter ── the app's code runs ── signal: set the hook ── hook: raise ── leave
 *
 * LuaJIT's compiled code checks no hooks. So the handler also raises SIGPROF: code that
 * was compiled while LuaJIT's profiler is on checks for that, and falls back to the
 * interpreter, which runs the hook. The process has one profiler: with several lanes only
 * the first lane's compiled code can be interrupted, the others' while it is interpreted.
 *
 * It can't end __gc, which runs without hooks; a message handler of xpcall; or a long
 * call of a C function that no signal ends.
 *
 * An app may catch the error. It then has until the next signal to clean up. From then on
 * every instruction raises until the call is over. Whatever the call returns, `leave`
 * says that it was interrupted. Outside of enter and leave the handler does nothing.
 *
 * The limit of the Lua heap uses the same hook and raises MEMORY (worker/lua_limit.h).
 * The collector uses it for steps during a call, which then goes on
 * (worker/lua_collector.h).
 *
 * While the arbiter is silent, a timer of the lane's own sends the same signal at the
 * deadline of a call (dirty_interrupt_bound).
 *
 * The owner embeds the struct, zeroed. Nothing interrupts before dirty_interrupt_open. */
#ifndef DIRTY_INTERRUPT_H
#define DIRTY_INTERRUPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <lua.h>

#include "base/baton.h"
#include "base/slice.h"
#include "wire/code.h"
#include "worker/lane_error.h"
#include "worker/lua_limit.h"

#define DIRTY_INTERRUPT_TRACE_MAX 4096

typedef struct dirty_interrupt {
    /* Shared with the signal handler, which runs in the same thread. */
    _Atomic uint64_t running; /* seq of the call whose code runs, 0: none */
    atomic_uint reason;       /* why it was interrupted, a dirty_code; 0: it was not */
    atomic_bool armed;        /* our hook is set */
    atomic_bool asked;        /* the arbiter wants a traceback */
    atomic_bool due;          /* the hook must run the collector */
    _Atomic uint64_t
        own_deadline_ns;   /* end the call then, 0: leave that to the arbiter */
    bool booting;          /* apps' code runs outside of a call: only `due` applies */
    bool compiled;         /* compiled code of this state can be reached */
    lua_State *L;          /* the main coroutine; borrowed; NULL: not open */
    dirty_lane_page *page; /* borrowed */
    timer_t alarm;         /* owned: signals this thread */
    bool has_alarm;
    dirty_lua_limit heap;
    void (*collect)(void *ctx, lua_State *L, bool all);
    void *collect_ctx;
    lua_Hook app_hook; /* the app's hook, restored when ours is removed */
    int app_mask, app_count;
    int faults[3];   /* registry references of the error objects, one per reason */
    unsigned raised; /* number of errors raised in this call */
    size_t trace_len;
    char trace[DIRTY_INTERRUPT_TRACE_MAX]; /* traceback of the first interrupt */
} dirty_interrupt;

/* Install the signal handler in this process. Call it before a lane opens. */
void dirty_interrupt_handle_signals(void);

typedef struct dirty_interrupt_options {
    dirty_lane_page *page; /* borrowed: the arbiter writes its orders there */
    bool
        compiled; /* interrupt compiled code too, which slows it; one state per process */
    size_t max_memory; /* bytes of the Lua heap, 0: no limit */
    /* Collect garbage: due steps, or with `all` everything. Must not raise. */
    void (*collect)(void *ctx, lua_State *L, bool all);
    void *collect_ctx;
} dirty_interrupt_options;

/* Make calls in L interruptible in the current thread. Returns 0 or -ENOMEM.
 * [-0, +0, -] */
int dirty_interrupt_open(dirty_interrupt *in, lua_State *L,
                         const dirty_interrupt_options *options);

/* Restore the allocator of L. Call it before that allocator is removed and before
 * lua_close. */
void dirty_interrupt_close(dirty_interrupt *in);

/* End the next call at its deadline without the arbiter, as far as it ends by an
 * interrupt at all. 0: don't. Call it while no call runs, and only if `has_alarm`. */
void dirty_interrupt_bound(dirty_interrupt *in, uint64_t deadline_ns);

/* Fill `error` for a call that was interrupted. Call it after leave. */
void dirty_interrupt_tell(dirty_interrupt *in, const char *app, dirty_slice action,
                          uint64_t arrived_ns, dirty_lane_error *error);

/* Run the collector at the next instruction of the app's code, if any runs. Called by
 * the allocator. */
void dirty_interrupt_collect(dirty_interrupt *in);

/* The slow part of leave; nothing else calls it. */
dirty_code dirty__interrupt_settle(dirty_interrupt *in);

/* Note that code of the call `seq` runs from here on. It may be interrupted. */
static inline void dirty_interrupt_enter(dirty_interrupt *in, uint64_t seq) {
    atomic_store_explicit(&in->running, seq, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
}

/* Note that the code has returned or raised. No hook runs any more. Returns why it was
 * interrupted, DIRTY_CODE_NONE if it was not. Calling it again has no effect. */
static inline dirty_code dirty_interrupt_leave(dirty_interrupt *in) {
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&in->running, 0, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    bool untouched = !atomic_load_explicit(&in->armed, memory_order_relaxed) &&
                     !atomic_load_explicit(&in->reason, memory_order_relaxed);
    return __builtin_expect(untouched, 1) ? DIRTY_CODE_NONE : dirty__interrupt_settle(in);
}

/* Whether the heap has room for calls. Collects it first if it has not. */
static inline bool dirty_interrupt_has_room(dirty_interrupt *in) {
    return in->heap.used <= dirty_lua_limit_room(&in->heap) ||
           dirty_lua_limit_relieve(&in->heap, in->L);
}

/* Call it when the request is over and its values are dropped. A heap that went over its
 * limit is collected. Finalizers run. */
static inline void dirty_interrupt_release(dirty_interrupt *in) {
    if (dirty_lua_limit_was_passed(&in->heap))
        dirty_lua_limit_relieve(&in->heap, in->L);
}

#endif
