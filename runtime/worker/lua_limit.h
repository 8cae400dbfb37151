/* lua_limit: limits the Lua heap of a lane. It is an allocator around the existing one.
 *
 * Compiled code of LuaJIT crashes if an allocation fails. So an allocation that passes
 * the limit succeeds, and `over` is called, which interrupts the call. The memory over
 * the limit may be garbage. So the interrupted call first collects
 * (dirty_lua_limit_relieve), and goes on if that was enough. Allocations fail only beyond
 * the ceiling, which no interruptible call reaches. Shrinking a block never fails.
 *
 * The owner embeds the struct. One thread uses it. */
#ifndef DIRTY_LUA_LIMIT_H
#define DIRTY_LUA_LIMIT_H

#include <stdbool.h>
#include <stddef.h>

#include <lua.h>

/* The ceiling is twice the limit plus this. */
#define DIRTY_LUA_CEILING_BYTES (64u << 20)
/* Over the limit, `over` is called again each time the heap has grown by this. */
#define DIRTY_LUA_ALARM_BYTES (1u << 20)

typedef struct dirty_lua_limit {
    lua_Alloc inner; /* NULL: not installed */
    void *inner_ctx;
    size_t used, limit, ceiling; /* bytes */
    size_t alarm;                /* call `over` when `used` is larger */
    bool refused;                /* a refused allocation was logged */
    void (*over)(void *ctx);     /* the allocator calls it: must not use Lua's heap */
    void (*collect)(void *ctx, lua_State *L); /* collects all garbage; must not raise */
    void *ctx;
} dirty_lua_limit;

/* Limit the heap of L to `limit` bytes. The caller sets over, collect and ctx of `m`
 * first. `m` must stay valid until dirty_lua_limit_remove. */
void dirty_lua_limit_install(dirty_lua_limit *m, lua_State *L, size_t limit);

/* Whether the heap went over the limit since dirty_lua_limit_relieve ran last. */
static inline bool dirty_lua_limit_was_passed(const dirty_lua_limit *m) {
    return m->alarm != m->limit;
}

/* What the heap may hold after a collection: seven eighths of the limit. With less left,
 * a heap just under the limit would be collected again and again for nothing. */
static inline size_t dirty_lua_limit_room(const dirty_lua_limit *m) {
    return m->limit - m->limit / 8;
}

/* Collect all garbage. True: the heap has room now, and `over` will be called the next
 * time it goes over the limit. Runs finalizers. Call it where the stack of L is whole: in
 * a hook or between calls. [-0, +0, -] */
bool dirty_lua_limit_relieve(dirty_lua_limit *m, lua_State *L);

/* Restore the inner allocator. Call it before that is removed and before lua_close. */
void dirty_lua_limit_remove(dirty_lua_limit *m, lua_State *L);

#endif
