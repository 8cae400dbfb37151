/* lua_limit: the limit of a lane's Lua heap, as an allocator around the one that is
 * there.
 *
 * Compiled code of LuaJIT can't take an allocation that fails: it crashes. So a request
 * that passes the limit is granted, and `over` is told, which interrupts the call. What
 * is over the limit may be garbage, therefore the interrupted call is first collected
 * after (dirty_lua_limit_relieve) and goes on if that was enough. Only beyond the
 * ceiling, which no call reaches that can be interrupted, requests are refused. A smaller
 * block is never refused.
 *
 * The owner embeds this; one thread uses it. */
#ifndef DIRTY_LUA_LIMIT_H
#define DIRTY_LUA_LIMIT_H

#include <stdbool.h>
#include <stddef.h>

#include <lua.h>

/* The ceiling: twice the limit, and this. */
#define DIRTY_LUA_CEILING_BYTES (64u << 20)
/* Once over the limit, `over` is told again after so much more. */
#define DIRTY_LUA_ALARM_BYTES (1u << 20)

typedef struct dirty_lua_limit {
    lua_Alloc inner; /* NULL: not installed */
    void *inner_ctx;
    size_t used, limit, ceiling; /* bytes */
    size_t alarm;                /* more than this: tell `over` */
    bool refused;                /* said in the log */
    void (*over)(void *ctx);     /* called by the allocator: must not use Lua's heap */
    void (*collect)(void *ctx, lua_State *L); /* all garbage; must not raise */
    void *ctx;
} dirty_lua_limit;

/* Limit the heap of L to `limit` bytes. Of `m` over, collect and ctx are set by the
 * caller; it must stay until it is removed. */
void dirty_lua_limit_install(dirty_lua_limit *m, lua_State *L, size_t limit);

/* Whether the heap was over the limit since it was last relieved. */
static inline bool dirty_lua_limit_was_passed(const dirty_lua_limit *m) {
    return m->alarm != m->limit;
}

/* What a heap may hold after a collection: an eighth is left, or one just under the limit
 * would be collected for nothing again and again. */
static inline size_t dirty_lua_limit_room(const dirty_lua_limit *m) {
    return m->limit - m->limit / 8;
}

/* Collect all garbage; true if the heap then has room, and `over` will be
 * told of the next time it is not. Finalizers run. Where the stack of L is whole: in a
 * hook or between calls. [-0, +0, -] */
bool dirty_lua_limit_relieve(dirty_lua_limit *m, lua_State *L);

/* Restore the inner allocator: before that is removed, and before lua_close. */
void dirty_lua_limit_remove(dirty_lua_limit *m, lua_State *L);

#endif
