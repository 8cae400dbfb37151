#include "worker/lua_memory.h"

#include <string.h>

#include <lauxlib.h>

/* A string's block has at most this behind its text: a NUL and padding. */
#define STRING_TAIL_MAX 16

/* Round the size of a large block up, to one of eight sizes per power of two. The size
 * that Lua gives back then tells the size of its block. */
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

/* Keep a freed block. Frees the oldest kept blocks if there are too many. */
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

/* Take the kept block of this size that was freed last: it may be in the CPU's cache. */
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

/* Allocate from the inner allocator. If that fails, free all kept blocks and retry. */
static void *fetch(dirty_lua_memory *m, void *block, size_t old, size_t size) {
    void *base = m->inner(m->inner_ctx, block, old, size);
    if (base == NULL && m->kept > 0) {
        drop_all(m);
        base = m->inner(m->inner_ctx, block, old, size);
    }
    return base;
}

/* A lua_Alloc for the case that the old size, the new size or both are large. `held` and
 * `room` are the sizes of the blocks. */
static void *exchange(dirty_lua_memory *m, void *block, size_t held, size_t room) {
    if (room == 0) {
        keep(m, block, held);
        return NULL;
    }
    return held == room ? block : fetch(m, block, held, room);
}

/* Whether a new block of this size can only be for the string in the seat. */
static bool is_for_seat(const dirty_lua_memory *m, size_t size) {
    size_t least = m->string_head + m->seat.len + 1;
    return size >= least && size < least + STRING_TAIL_MAX &&
           room_of(size) == m->seat.room;
}

static void *take_seat(dirty_lua_memory *m) {
    void *base = m->seat.base;
    m->seat = (dirty_lua_seat){0};
    return base;
}

static void *new_large(dirty_lua_memory *m, size_t size) {
    size_t room = room_of(size);
    m->newest = m->seat.offered && is_for_seat(m, size) ? take_seat(m) : take(m, room);
    if (m->newest == NULL)
        m->newest = fetch(m, NULL, 0, room);
    if (m->newest != NULL)
        m->used_bytes += room;
    m->quiet = 0;
    return m->newest;
}

static void *allocate_large(dirty_lua_memory *m, void *block, size_t old, size_t size) {
    if (block == NULL)
        return new_large(m, size);
    bool was_large = old >= DIRTY_LUA_LARGE_BYTES;
    bool is_large = size >= DIRTY_LUA_LARGE_BYTES;
    size_t held = was_large ? room_of(old) : old;
    size_t room = is_large ? room_of(size) : size;
    void *base = exchange(m, block, held, room);
    if (base == NULL && room > 0)
        return NULL;
    m->used_bytes += (is_large ? room : 0) - (was_large ? held : 0);
    if (is_large)
        m->quiet = 0;
    return base;
}

static void tell_over(dirty_lua_memory *m) {
    m->alarm_bytes = SIZE_MAX;
    m->over(m->over_ctx);
}

static void *allocate(void *ctx, void *block, size_t old, size_t size) {
    dirty_lua_memory *m = ctx;
    void *base;
    if (old < DIRTY_LUA_LARGE_BYTES && size < DIRTY_LUA_LARGE_BYTES)
        base = m->inner(m->inner_ctx, block, old, size);
    else
        base = allocate_large(m, block, old, size);
    if (base != NULL || size == 0)
        m->held_bytes += size - old;
    if (__builtin_expect(m->held_bytes > m->alarm_bytes, 0))
        tell_over(m);
    return base;
}

void dirty_lua_memory_install(dirty_lua_memory *m, lua_State *L) {
    memset(m, 0, sizeof *m);
    m->alarm_bytes = SIZE_MAX;
    m->held_bytes =
        (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
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

void dirty_lua_memory_collected(dirty_lua_memory *m) {
    m->alive_bytes = m->used_bytes;
}

/* -- Seats ------------------------------------------------------------------------ */

static char *seat_text(const dirty_lua_memory *m) {
    return (char *)m->seat.base + m->string_head;
}

char *dirty_lua_memory_seat(dirty_lua_memory *m, size_t len) {
    dirty_lua_memory_unseat(m);
    if (m->string_head == 0 || len < DIRTY_LUA_LARGE_BYTES || len > INT32_MAX)
        return NULL;
    size_t room = room_of(m->string_head + len + STRING_TAIL_MAX);
    void *base = take(m, room);
    if (base == NULL)
        base = fetch(m, NULL, 0, room);
    if (base == NULL)
        return NULL;
    m->quiet = 0;
    m->seat = (dirty_lua_seat){.base = base, .room = room, .len = len};
    return seat_text(m);
}

void dirty_lua_memory_push_seat(dirty_lua_memory *m, lua_State *L) {
    char *text = seat_text(m), last[8];
    size_t len = m->seat.len;
    memcpy(last, text + len - sizeof last, sizeof last);
    m->seat.offered = true;
    lua_pushlstring(L, text, len);
    bool given = m->seat.base == NULL;
    dirty_lua_memory_unseat(m); /* if Lua has such a string already */
    if (given && lua_tostring(L, -1) != text)
        luaL_error(L, "a finalizer took the memory of an argument");
    /* LuaJIT clears the last word of a string before it copies the bytes into it */
    if (given)
        memcpy(text + len - sizeof last, last, sizeof last);
}

void dirty_lua_memory_unseat(dirty_lua_memory *m) {
    if (m->seat.base != NULL)
        keep(m, m->seat.base, m->seat.room);
    m->seat = (dirty_lua_seat){0};
}

/* Measure the bytes before a string's text, with a string made as any other. */
static size_t measure_head(dirty_lua_memory *m, lua_State *L) {
    char *source = lua_newuserdata(L, DIRTY_LUA_LARGE_BYTES);
    memset(source, 's', DIRTY_LUA_LARGE_BYTES);
    m->newest = NULL;
    lua_pushlstring(L, source, DIRTY_LUA_LARGE_BYTES);
    const char *text = lua_tostring(L, -1), *block = m->newest;
    size_t head = block != NULL && text > block ? (size_t)(text - block) : 0;
    lua_pop(L, 2);
    return head < 256 ? head : 0;
}

/* Whether Lua makes a string of that length in its seat, and with the right bytes. */
static bool seat_works(dirty_lua_memory *m, lua_State *L, size_t len) {
    char *text = dirty_lua_memory_seat(m, len);
    if (text == NULL)
        return false;
    for (size_t i = 0; i < len; i++)
        text[i] = (char)(i * 7);
    dirty_lua_memory_push_seat(m, L);
    const char *made = lua_tostring(L, -1);
    bool right = made == text && lua_objlen(L, -1) == len && made[len] == '\0';
    for (size_t i = 0; right && i < len; i++)
        right = made[i] == (char)(i * 7);
    lua_pop(L, 1);
    return right;
}

void dirty_lua_memory_try_seat(dirty_lua_memory *m, lua_State *L) {
    m->string_head = measure_head(m, L);
    for (size_t more = 0; more < 4; more++) /* one length for each padding */
        if (!seat_works(m, L, DIRTY_LUA_LARGE_BYTES + more))
            m->string_head = 0;
    lua_gc(L, LUA_GCCOLLECT, 0);
    drop_all(m);
}

void dirty_lua_memory_remove(dirty_lua_memory *m, lua_State *L) {
    dirty_lua_memory_unseat(m);
    drop_all(m);
    lua_setallocf(L, m->inner, m->inner_ctx);
}
