#include "worker/lua_limit.h"

#include <stdint.h>

#include "base/log.h"

static bool refuse(dirty_lua_limit *m, size_t used) {
    if (!m->refused)
        dirty_log(DIRTY_LOG_ERROR, "the Lua heap of a lane has reached its ceiling",
                  "bytes=%zu max_memory=%zu ceiling=%zu", used, m->limit, m->ceiling);
    m->refused = true;
    return false;
}

/* Decide whether the heap may grow to `used` bytes, which is over the alarm. */
static bool may_grow(dirty_lua_limit *m, size_t used) {
    if (used > m->ceiling)
        return refuse(m, used);
    m->alarm = used + DIRTY_LUA_ALARM_BYTES;
    if (m->alarm > m->ceiling)
        m->alarm = m->ceiling;
    m->over(m->ctx);
    return true;
}

static void *allocate(void *ctx, void *block, size_t old, size_t size) {
    dirty_lua_limit *m = ctx;
    if (size > old) {
        size_t more = size - old;
        size_t used = more > SIZE_MAX - m->used ? SIZE_MAX : m->used + more;
        if (used > m->alarm && !may_grow(m, used))
            return NULL;
    }
    void *base = m->inner(m->inner_ctx, block, old, size);
    if (base != NULL || size == 0)
        m->used += size - old;
    return base;
}

void dirty_lua_limit_install(dirty_lua_limit *m, lua_State *L, size_t limit) {
    m->inner = lua_getallocf(L, &m->inner_ctx);
    m->used =
        (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
    m->limit = m->alarm = limit;
    m->ceiling = limit > (SIZE_MAX - DIRTY_LUA_CEILING_BYTES) / 2
                     ? SIZE_MAX
                     : 2 * limit + DIRTY_LUA_CEILING_BYTES;
    m->refused = false;
    lua_setallocf(L, allocate, m);
}

bool dirty_lua_limit_relieve(dirty_lua_limit *m, lua_State *L) {
    size_t room = dirty_lua_limit_room(m), before;
    do { /* repeat: a collection only halves LuaJIT's string buffer */
        before = m->used;
        m->collect(m->ctx, L);
    } while (m->used > room && m->used < before && before - m->used >= m->limit / 8);
    m->alarm = m->limit;
    m->refused = false;
    return m->used <= room;
}

void dirty_lua_limit_remove(dirty_lua_limit *m, lua_State *L) {
    if (m->inner == NULL)
        return;
    lua_setallocf(L, m->inner, m->inner_ctx);
    m->inner = NULL;
}
