/* lua_collector: decides when a lane collects garbage, and handles the errors that
 * finalizers raise (__gc, ffi.gc).
 *
 * LuaJIT collects in steps wherever a program allocates, and runs finalizers there. An
 * error of a finalizer then comes out of whatever runs at that moment, in the name of
 * another app's call. From compiled code it ends the process. So LuaJIT's own collector
 * is put off. The same steps, of the same size (setpause, setstepmul), run where they
 * can't meet a call: between calls, between the chunks of a stream, and in a hook if a
 * call makes much garbage (worker/interrupt.h). There they run protected, and errors are
 * logged without an app's name.
 *
 *   due ──► the next step between calls
 *    └─ 1 MiB more ──► the allocator calls `over`: a step in a hook
 *         └─ 32 MiB more ──► LuaJIT's own collector, if no hook has run
 *
 * The last case remains for compiled code of a lane that can't be interrupted, and for a
 * long C function that makes garbage. The function collectgarbage is ours and protected
 * too. An app that stops the collector stops all of this.
 *
 * The owner embeds the struct. One thread uses it. */
#ifndef DIRTY_LUA_COLLECTOR_H
#define DIRTY_LUA_COLLECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

#include "worker/lua_memory.h"

#define DIRTY_LUA_IDLE_STEP_BYTES (64u << 10)
#define DIRTY_LUA_HOOK_STEP_BYTES (1u << 20)
#define DIRTY_LUA_PUT_OFF_BYTES (32u << 20)

typedef struct dirty_lua_collector {
    dirty_lua_memory *memory; /* borrowed: counts the heap and calls `over` */
    size_t limit_bytes;       /* of the heap; 0: none; set by the owner */
    size_t due_bytes;         /* a step is due when the heap is larger */
    size_t seen_bytes;        /* size of the heap after the last step */
    int step;                 /* registry reference of the function that makes a step */
    int step_kib;             /* size of that step for lua_gc; -1: a full collection */
    bool finished;            /* the step ended a cycle */
    unsigned errors;          /* errors of finalizers that are not logged yet */
    uint64_t told_ns;         /* time of the last log line; 0: none */
    char error[300];          /* the first error that is not logged yet */
} dirty_lua_collector;

/* Call it once, after dirty_lua_memory_install of the same L. Then call put_off.
 * [-0, +0, e] */
void dirty_lua_collector_open(dirty_lua_collector *c, dirty_lua_memory *memory,
                              lua_State *L);

static inline bool dirty_lua_collector_is_due(const dirty_lua_collector *c) {
    return c->memory->held_bytes > c->due_bytes;
}

/* Make the steps that are due for what was allocated since the last one. Call it where
 * the stack of L is whole: in a hook, in a C function, or where no app's code runs.
 * [-0, +0, -] */
void dirty_lua_collector_step(dirty_lua_collector *c, lua_State *L);

/* Make the step of lua_gc(L, LUA_GCSTEP, kib), in the same places. True: it ended a
 * cycle. [-0, +0, -] */
bool dirty_lua_collector_turn(dirty_lua_collector *c, lua_State *L, int kib);

/* Collect all garbage, in the same places. If an app has stopped the collector, it is
 * stopped afterwards too. [-0, +0, -] */
void dirty_lua_collector_full(dirty_lua_collector *c, lua_State *L);

/* Put LuaJIT's collector off from the current size of the heap on, and set the alarm.
 * Does nothing if an app has stopped the collector. [-0, +0, -] */
void dirty_lua_collector_put_off(dirty_lua_collector *c, lua_State *L);

/* Whether no alarm is set: `over` was called and nothing collected since, or an app has
 * stopped the collector. */
static inline bool dirty_lua_collector_is_loose(const dirty_lua_collector *c) {
    return c->memory->alarm_bytes == SIZE_MAX;
}

/* In the message handler of a call: whether a finalizer may have raised the error. LuaJIT
 * stops the collector while it runs a finalizer. The answer is yes only if the collector
 * runs again once the call has returned; otherwise the app has stopped it. [-0, +0, -] */
static inline bool dirty_lua_collector_rests(lua_State *L) {
    return lua_gc(L, LUA_GCISRUNNING, 0) == 0;
}

/* Log an error of a finalizer. `during` is the call that it came out of, NULL: none. Logs
 * one line a second, with the number of errors since the last line. */
void dirty_lua_collector_tell(dirty_lua_collector *c, const char *error,
                              const char *during);

#endif
