#include "worker/lua_memory.h"

#include <string.h>

/* What a large block of n bytes is made to hold: eight sizes to every power of two, so
 * that the size Lua gives back tells which block it got. */
static size_t room_of(size_t n) {
    size_t step = ((size_t)1 << (8 * sizeof n - 1 - (size_t)__builtin_clzl(n))) / 8;
    return n > SIZE_MAX - step ? n : (n + step - 1) & ~(step - 1);
}

static void drop(dirty_lua_memory *m, uint32_t at) {
    dirty_lua_block *b = &m->blocks[at];
    m->inner(m->inner_ctx, b->base, b->size, 0);
    m->kept_bytes -= b->size;
    memmove(b, b + 1, (--m->kept - at) * sizeof *b);
}

static void drop_all(dirty_lua_memory *m) {
    while (m->kept > 0)
        drop(m, m->kept - 1);
}

/* Keep a freed block, at the cost of those freed longest ago. */
static void keep(dirty_lua_memory *m, void *base, size_t size) {
    if (size > DIRTY_LUA_KEEP_BYTES) {
        m->inner(m->inner_ctx, base, size, 0);
        return;
    }
    while (m->kept == DIRTY_LUA_KEEP_BLOCKS ||
           m->kept_bytes + size > DIRTY_LUA_KEEP_BYTES)
        drop(m, 0);
    m->blocks[m->kept++] = (dirty_lua_block){base, size};
    m->kept_bytes += size;
}

/* The block of this size that was freed last: the likeliest to be in the CPU's cache. */
static void *take(dirty_lua_memory *m, size_t size) {
    for (uint32_t i = m->kept; i-- > 0;) {
        dirty_lua_block *b = &m->blocks[i];
        if (b->size != size)
            continue;
        void *base = b->base;
        m->kept_bytes -= size;
        memmove(b, b + 1, (--m->kept - i) * sizeof *b);
        return base;
    }
    return NULL;
}

/* From the inner allocator; what is kept goes if that is what is missing. */
static void *fetch(dirty_lua_memory *m, void *block, size_t old, size_t size) {
    void *base = m->inner(m->inner_ctx, block, old, size);
    if (base == NULL && m->kept > 0) {
        drop_all(m);
        base = m->inner(m->inner_ctx, block, old, size);
    }
    return base;
}

/* A lua_Alloc where the old size, the new one or both are large; `held` and `room` are
 * what the blocks have of them. */
static void *exchange(dirty_lua_memory *m, void *block, size_t held, size_t room) {
    if (room == 0) {
        keep(m, block, held);
        return NULL;
    }
    if (held == room)
        return block;
    void *base = block == NULL ? take(m, room) : NULL;
    return base != NULL ? base : fetch(m, block, held, room);
}

static void *allocate_large(dirty_lua_memory *m, void *block, size_t old, size_t size) {
    bool was_large = block != NULL && old >= DIRTY_LUA_LARGE_BYTES;
    bool is_large = size >= DIRTY_LUA_LARGE_BYTES;
    size_t held = was_large ? room_of(old) : old;
    size_t room = is_large ? room_of(size) : size;
    void *base = exchange(m, block, block != NULL ? held : 0, room);
    if (base == NULL && room > 0)
        return NULL;
    m->used_bytes += (is_large ? room : 0) - (was_large ? held : 0);
    if (is_large)
        m->quiet = 0;
    return base;
}

static void *allocate(void *ctx, void *block, size_t old, size_t size) {
    dirty_lua_memory *m = ctx;
    if (old < DIRTY_LUA_LARGE_BYTES && size < DIRTY_LUA_LARGE_BYTES)
        return m->inner(m->inner_ctx, block, old, size);
    return allocate_large(m, block, old, size);
}

void dirty_lua_memory_install(dirty_lua_memory *m, lua_State *L) {
    memset(m, 0, sizeof *m);
    m->inner = lua_getallocf(L, &m->inner_ctx);
    lua_setallocf(L, allocate, m);
}

bool dirty_lua_memory_tidy(dirty_lua_memory *m, size_t heap_bytes) {
    if (m->kept > 0 && ++m->quiet > DIRTY_LUA_KEEP_REQUESTS)
        drop_all(m);
    if (m->alive_bytes > m->used_bytes)
        m->alive_bytes = m->used_bytes;
    return m->used_bytes - m->alive_bytes >= DIRTY_LUA_GARBAGE_BYTES &&
           heap_bytes < m->used_bytes + DIRTY_LUA_QUICK_BYTES;
}

void dirty_lua_memory_collect(dirty_lua_memory *m, lua_State *L) {
    lua_gc(L, LUA_GCCOLLECT, 0);
    m->alive_bytes = m->used_bytes;
}

void dirty_lua_memory_remove(dirty_lua_memory *m, lua_State *L) {
    drop_all(m);
    lua_setallocf(L, m->inner, m->inner_ctx);
}
