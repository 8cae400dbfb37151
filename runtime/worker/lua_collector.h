/* lua_collector: when the garbage of a lane is collected, and what becomes of an error
 * that a finalizer raises (__gc, ffi.gc).
 *
 * LuaJIT collects in steps wherever a program allocates, and runs finalizers there: what
 * one raises comes out of whatever runs at that moment, in the name of another app's
 * call, and from compiled code it ends the process. So LuaJIT's own collector is put off,
 * and the same steps are made, by the same measure (setpause, setstepmul), where nobody's
 * call can meet them: between calls, between the chunks of a stream, and, while a call
 * goes on making garbage, in a hook that interrupts it (worker/interrupt.h). There they
 * run protected, and errors are logged in nobody's name.
 *
 *   due ──► the next step between calls
 *    └─ 1 MiB more ──► the allocator tells `over`: a step in a hook
 *         └─ 32 MiB more ──► LuaJIT's own collector, where no hook was met
 *
 * The last is what remains: compiled code of a lane that can't be interrupted, and a long
 * C function that makes garbage. The function collectgarbage is ours and protected too;
 * an app that stops the collector stops all of this.
 *
 * The owner embeds this; one thread uses it. */
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
    dirty_lua_memory *memory; /* borrowed: counts the heap, and gives the alarm */
    size_t limit_bytes;       /* of the heap, 0: none; set by the owner */
    size_t due_bytes;         /* a heap larger than this is to be collected */
    size_t seen_bytes;        /* its size after the last step */
    int step;                 /* registry reference of the function that makes one */
    int step_kib;             /* … how much, as lua_gc takes it; -1: a full collection */
    bool finished;            /* … it was the last of a cycle */
    unsigned errors;          /* of finalizers that the log has not told of */
    uint64_t told_ns;         /* when it told of one last, 0: never */
    char error[300];          /* the first that it has not told of */
} dirty_lua_collector;

/* Call once, after dirty_lua_memory_install for the same L, then put off. [-0, +0, e] */
void dirty_lua_collector_open(dirty_lua_collector *c, dirty_lua_memory *memory,
                              lua_State *L);

static inline bool dirty_lua_collector_is_due(const dirty_lua_collector *c) {
    return c->memory->held_bytes > c->due_bytes;
}

/* Make the steps that are due for what was allocated since the last. Where the stack of L
 * is whole: in a hook, in a C function, or where no app's code runs. [-0, +0, -] */
void dirty_lua_collector_step(dirty_lua_collector *c, lua_State *L);

/* Make the step of lua_gc(L, LUA_GCSTEP, kib), in the same places. True: it has ended a
 * cycle. [-0, +0, -] */
bool dirty_lua_collector_turn(dirty_lua_collector *c, lua_State *L, int kib);

/* Collect all garbage, in the same places. An app that has stopped the collector finds it
 * stopped. [-0, +0, -] */
void dirty_lua_collector_full(dirty_lua_collector *c, lua_State *L);

/* Put LuaJIT's collector off from here on, and set the alarm, unless an app has stopped
 * it. [-0, +0, -] */
void dirty_lua_collector_put_off(dirty_lua_collector *c, lua_State *L);

/* The alarm was given and nobody has collected since, or an app has stopped it. */
static inline bool dirty_lua_collector_is_loose(const dirty_lua_collector *c) {
    return c->memory->alarm_bytes == SIZE_MAX;
}

/* In the message handler of a call: was what it is given raised by a finalizer that the
 * collector has run in the midst of it? It is only if the collector runs again once the
 * call has come back, else the app has stopped it. [-0, +0, -] */
static inline bool dirty_lua_collector_rests(lua_State *L) {
    return lua_gc(L, LUA_GCISRUNNING, 0) == 0;
}

/* Log an error of a finalizer: `during` is the call that it came out of, NULL: none. One
 * line a second, with the count of those since the last. */
void dirty_lua_collector_tell(dirty_lua_collector *c, const char *error,
                              const char *during);

#endif
