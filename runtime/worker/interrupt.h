/* interrupt: ends the Lua code of a running call from outside, softly: the code raises an
 * error at its next instruction, and the Lua state and all that apps keep in it stay.
 *
 * The arbiter stores (seq, reason) in the lane's page and signals the lane's thread,
 * every 10 ms until the call is over (base/baton.h). The handler looks at the page; when
 * it names the call that runs here, it arms a count hook and, since compiled code of
 * LuaJIT checks no hooks, raises SIGPROF: code compiled while LuaJIT's profiler is on
 * checks for that and falls back to the interpreter, where the hook is met. The hook
 * takes the traceback and raises. Not to be ended are: __gc, which runs without hooks; a
 * message handler of xpcall; a long call of a C function that no signal ends.
 *
 *   enter ── the app's code runs ── signal: armed ── hook: raises ── leave
 *
 * An app may catch the error. It then has until the next signal to clean up; from then on
 * every instruction raises until the call is over. Whatever the call returns, `leave`
 * tells that it was interrupted. Outside of enter and leave the handler does nothing.
 *
 * A limit of the Lua heap is held by the same means (worker/lua_limit.h), with MEMORY;
 * and the collector gets its turn in the midst of a call (worker/lua_collector.h), which
 * goes on then.
 *
 * The profiler is one per process: with several lanes only the first lane's compiled code
 * can be ended; the other lanes' code can while it is interpreted.
 *
 * The owner embeds this, zeroed; without dirty_interrupt_open nothing ever interrupts. */
#ifndef DIRTY_INTERRUPT_H
#define DIRTY_INTERRUPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
    atomic_bool asked;        /* for a traceback */
    atomic_bool due;          /* the collector is to have its turn */
    bool booting;          /* apps' code runs that is no call: only `due` concerns it */
    bool compiled;         /* compiled code of this state can be reached */
    lua_State *L;          /* the main coroutine; borrowed; NULL: not open */
    dirty_lane_page *page; /* borrowed */
    dirty_lua_limit heap;
    void (*collect)(void *ctx, lua_State *L, bool all);
    void *collect_ctx;
    lua_Hook app_hook; /* what our hook took the place of, until the call is over */
    int app_mask, app_count;
    int faults[3];   /* registry: what is raised for each reason */
    unsigned raised; /* how often in this call */
    size_t trace_len;
    char trace[DIRTY_INTERRUPT_TRACE_MAX]; /* of where it was interrupted first */
} dirty_interrupt;

/* Handle the signal in this process, before any lane opens. */
void dirty_interrupt_handle_signals(void);

typedef struct dirty_interrupt_options {
    dirty_lane_page *page; /* borrowed: through which the arbiter asks */
    bool compiled; /* reach compiled code too, which slows it: one state of a process */
    size_t max_memory; /* bytes of the Lua heap, 0: no limit */
    /* Collect garbage, what is due or all; must not raise. Finalizers run. */
    void (*collect)(void *ctx, lua_State *L, bool all);
    void *collect_ctx;
} dirty_interrupt_options;

/* Let calls in L be interrupted, in the thread that calls this. 0 or -ENOMEM.
 * [-0, +0, -] */
int dirty_interrupt_open(dirty_interrupt *in, lua_State *L,
                         const dirty_interrupt_options *options);

/* Restore the allocator that L had: before that is removed, and before lua_close. */
void dirty_interrupt_close(dirty_interrupt *in);

/* Make an error of an interrupted call, after leave. `error` is set anew. */
void dirty_interrupt_tell(dirty_interrupt *in, const char *app, dirty_slice action,
                          uint64_t arrived_ns, dirty_lane_error *error);

/* Give the collector its turn at the next instruction of the app's code, if any runs. For
 * the allocator. */
void dirty_interrupt_collect(dirty_interrupt *in);

/* For leave alone. */
dirty_code dirty__interrupt_settle(dirty_interrupt *in);

/* From here on code of the call `seq` runs, which may be interrupted. */
static inline void dirty_interrupt_enter(dirty_interrupt *in, uint64_t seq) {
    atomic_store_explicit(&in->running, seq, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
}

/* The code has returned or raised: no hook is met any more. Returns why it was
 * interrupted, DIRTY_CODE_NONE if it was not. Once more is harmless. */
static inline dirty_code dirty_interrupt_leave(dirty_interrupt *in) {
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&in->running, 0, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    bool untouched = !atomic_load_explicit(&in->armed, memory_order_relaxed) &&
                     !atomic_load_explicit(&in->reason, memory_order_relaxed);
    return __builtin_expect(untouched, 1) ? DIRTY_CODE_NONE : dirty__interrupt_settle(in);
}

/* Whether the heap, once it is collected if need be, has room for calls. */
static inline bool dirty_interrupt_has_room(dirty_interrupt *in) {
    return in->heap.used <= dirty_lua_limit_room(&in->heap) ||
           dirty_lua_limit_relieve(&in->heap, in->L);
}

/* The request is over and its values are dropped: a heap that went over its limit is
 * collected. Finalizers run. */
static inline void dirty_interrupt_release(dirty_interrupt *in) {
    if (dirty_lua_limit_was_passed(&in->heap))
        dirty_lua_limit_relieve(&in->heap, in->L);
}

#endif
