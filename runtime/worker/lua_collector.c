#include "worker/lua_collector.h"

#include <limits.h>
#include <stdio.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/guest.h"
#include "base/log.h"

/* The largest step. */
#define STEP_KIB_MAX (16 << 10)
/* step_kib for a full collection. */
#define ALL (-1)
/* Finalizers that may raise in one collection. Each object is finalized once. */
#define ERRORS_MAX 100000
#define TELL_EVERY_NS (1000 * DIRTY_NS_PER_MS)

/* -- Logging errors of finalizers ------------------------------------------------- */

static void tell_what_there_is(dirty_lua_collector *c, const char *during) {
    uint64_t now_ns = dirty_now_ns();
    if (c->errors == 0 || (c->told_ns != 0 && now_ns - c->told_ns < TELL_EVERY_NS))
        return;
    dirty_log(DIRTY_LOG_WARN, "a finalizer raised an error", "error=%s count=%u%s%s",
              DIRTY_LOG_QUOTE(c->error), c->errors, during ? " during=" : "",
              during ? DIRTY_LOG_QUOTE(during) : "");
    c->errors = 0;
    c->told_ns = now_ns;
}

static void note(dirty_lua_collector *c, const char *error) {
    if (c->errors++ == 0)
        snprintf(c->error, sizeof c->error, "%s", error);
}

void dirty_lua_collector_tell(dirty_lua_collector *c, const char *error,
                              const char *during) {
    note(c, error);
    tell_what_there_is(c, during);
}

/* -- Putting LuaJIT's collector off ----------------------------------------------- */

static bool is_stopped(lua_State *L) {
    return lua_gc(L, LUA_GCISRUNNING, 0) == 0;
}

/* How far above the alarm LuaJIT's own collector starts. That is below the limit of the
 * heap, if there is one, because going over the limit interrupts the call. */
static size_t put_off_bytes(const dirty_lua_collector *c, size_t alarm) {
    if (c->limit_bytes == 0)
        return DIRTY_LUA_PUT_OFF_BYTES;
    size_t room = c->limit_bytes > alarm ? (c->limit_bytes - alarm) / 2 : 0;
    return room < DIRTY_LUA_PUT_OFF_BYTES ? room : DIRTY_LUA_PUT_OFF_BYTES;
}

/* Set LuaJIT's threshold to `heap` + `bytes`. It takes only a percentage of the heap. */
static void set_threshold(lua_State *L, size_t heap, size_t bytes) {
    size_t percent = bytes / (heap / 100 + 1) + 1;
    int pause = lua_gc(L, LUA_GCSETPAUSE, percent < INT_MAX ? (int)percent : INT_MAX);
    lua_gc(L, LUA_GCRESTART, -1);
    lua_gc(L, LUA_GCSETPAUSE, pause);
}

void dirty_lua_collector_put_off(dirty_lua_collector *c, lua_State *L) {
    dirty_lua_memory *m = c->memory;
    m->alarm_bytes = SIZE_MAX;
    if (is_stopped(L))
        return;
    size_t from = m->held_bytes > c->due_bytes ? m->held_bytes : c->due_bytes;
    m->alarm_bytes = from + DIRTY_LUA_HOOK_STEP_BYTES;
    set_threshold(L, m->held_bytes, m->alarm_bytes + put_off_bytes(c, m->alarm_bytes));
}

/* -- Steps ------------------------------------------------------------------------ */

static int run_step(lua_State *L) {
    dirty_lua_collector *c = lua_touserdata(L, lua_upvalueindex(1));
    if (c->step_kib == ALL)
        lua_gc(L, LUA_GCCOLLECT, 0);
    c->finished = c->step_kib == ALL || lua_gc(L, LUA_GCSTEP, c->step_kib) != 0;
    return 0;
}

/* Run one step under protection. False: a finalizer raised, the rest is left to do. */
static bool attempt(dirty_lua_collector *c, lua_State *L, int kib) {
    int top = lua_gettop(L);
    c->step_kib = kib;
    c->finished = false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->step);
    int status = lua_pcall(L, 0, 0, 0);
    dirty_guest_end("a finalizer");
    if (status != 0) /* no tostring: making a string could run the collector again */
        note(c,
             lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "(an error object)");
    lua_settop(L, top);
    return status == 0;
}

/* How much garbage a cycle is worth. A few large strings would make a small heap twice as
 * large, and so cause a cycle each. They are left to the full collection after
 * DIRTY_LUA_GARBAGE_BYTES of them, unless the heap may not grow that much. */
static size_t least_garbage(const dirty_lua_collector *c) {
    const dirty_lua_memory *m = c->memory;
    bool has_large = m->used_bytes + m->kept_bytes > 0;
    bool is_quick = m->held_bytes - m->used_bytes < DIRTY_LUA_QUICK_BYTES;
    bool has_room = c->limit_bytes == 0 ||
                    m->held_bytes + 2 * DIRTY_LUA_GARBAGE_BYTES < c->limit_bytes;
    return has_large && is_quick && has_room ? DIRTY_LUA_GARBAGE_BYTES
                                             : DIRTY_LUA_IDLE_STEP_BYTES;
}

/* End a cycle. The next one becomes due where LuaJIT would begin it. */
static void end_cycle(dirty_lua_collector *c, lua_State *L) {
    size_t heap = c->memory->held_bytes;
    int pause = lua_gc(L, LUA_GCSETPAUSE, 200);
    lua_gc(L, LUA_GCSETPAUSE, pause);
    size_t due = heap / 100 * (pause > 0 ? (size_t)pause : 0);
    size_t least = heap + least_garbage(c);
    c->due_bytes = due > least ? due : least;
}

static void settle(dirty_lua_collector *c, lua_State *L) {
    c->seen_bytes = c->memory->held_bytes;
    if (c->finished)
        end_cycle(c, L);
    else
        c->due_bytes = c->seen_bytes + DIRTY_LUA_IDLE_STEP_BYTES;
    dirty_lua_collector_put_off(c, L);
    tell_what_there_is(c, NULL);
}

/* Make steps of `kib` in all. Goes on after a finalizer that raises. */
static void turn(dirty_lua_collector *c, lua_State *L, int kib) {
    c->memory->alarm_bytes = SIZE_MAX;
    for (int i = 0; !attempt(c, L, kib) && i < ERRORS_MAX; i++)
        continue;
    settle(c, L);
}

/* Stop the collector again, as the app had stopped it. */
static void stop(dirty_lua_collector *c, lua_State *L) {
    lua_gc(L, LUA_GCSTOP, 0);
    c->memory->alarm_bytes = SIZE_MAX;
}

void dirty_lua_collector_step(dirty_lua_collector *c, lua_State *L) {
    size_t heap = c->memory->held_bytes;
    size_t kib = heap > c->seen_bytes ? (heap - c->seen_bytes) >> 10 : 0;
    if (!is_stopped(L))
        turn(c, L, kib < STEP_KIB_MAX ? (int)kib : STEP_KIB_MAX);
}

bool dirty_lua_collector_turn(dirty_lua_collector *c, lua_State *L, int kib) {
    bool stopped = is_stopped(L);
    turn(c, L, kib > 0 ? kib : 0);
    bool finished = c->finished;
    if (stopped)
        stop(c, L);
    return finished;
}

void dirty_lua_collector_full(dirty_lua_collector *c, lua_State *L) {
    bool stopped = is_stopped(L);
    c->memory->alarm_bytes = SIZE_MAX;
    bool done = attempt(c, L, ALL);
    for (int i = 0; !(done && c->finished) && i < ERRORS_MAX; i++)
        done = attempt(c, L, INT_MAX); /* only the rest of the cycle */
    settle(c, L);
    if (stopped)
        stop(c, L);
}

void dirty_lua_collector_open(dirty_lua_collector *c, dirty_lua_memory *memory,
                              lua_State *L) {
    c->memory = memory;
    lua_pushlightuserdata(L, c);
    lua_pushcclosure(L, run_step, 1);
    c->step = luaL_ref(L, LUA_REGISTRYINDEX);
    c->seen_bytes = memory->held_bytes;
    end_cycle(c, L);
}
