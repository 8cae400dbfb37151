/* lua_memory: the allocator of a lane's Lua state, around the one that LuaJIT made.
 *
 * LuaJIT's allocator maps every block from 128 KiB up and unmaps it when it is freed. A
 * lane that gets 1 MB strings pays 256 page faults for each, more than the rest of the
 * request costs. So this allocator keeps freed large blocks for the next block of about
 * the same size: at most DIRTY_LUA_KEEP_BYTES. It frees them after
 * DIRTY_LUA_KEEP_REQUESTS requests that needed none.
 *
 * A large block can also be a *seat*. The bytes of a string are received into it, and Lua
 * then makes its string in that block. This saves the largest copy of a request. It
 * relies on how LuaJIT makes a string: one block with a head, the bytes and a NUL, and a
 * memcpy of the bytes, which does nothing when they are there already. Every state tries
 * this once. Where it does not work there are no seats.
 *
 * It counts the bytes that Lua has, and calls `over` when they pass `alarm_bytes`
 * (worker/lua_collector.h).
 *
 * All blocks, also the kept ones, belong to the inner allocator, so it can be restored at
 * any time. The owner embeds the struct. One thread uses it. */
#ifndef DIRTY_LUA_MEMORY_H
#define DIRTY_LUA_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

#define DIRTY_LUA_LARGE_BYTES (128u << 10)
#define DIRTY_LUA_KEEP_BYTES (8u << 20)
#define DIRTY_LUA_KEEP_BLOCKS 8
#define DIRTY_LUA_KEEP_REQUESTS 64
#define DIRTY_LUA_GARBAGE_BYTES (4u << 20)
#define DIRTY_LUA_QUICK_BYTES (8u << 20)

typedef struct dirty_lua_block {
    void *base; /* owned */
    size_t size;
} dirty_lua_block;

/* A block for received bytes that will become a string. */
typedef struct dirty_lua_seat {
    void *base; /* owned until Lua has it; NULL: no seat */
    size_t room;
    size_t len;   /* of the string */
    bool offered; /* Lua gets this block when it asks for that size */
} dirty_lua_seat;

typedef struct dirty_lua_memory {
    lua_Alloc inner;
    void *inner_ctx;
    size_t held_bytes;  /* total of all blocks that Lua has */
    size_t alarm_bytes; /* call `over` once when held_bytes is larger; SIZE_MAX: never */
    void (*over)(void *ctx); /* the allocator calls it: must not use Lua's heap */
    void *over_ctx;
    size_t used_bytes;  /* total of the large blocks that Lua has */
    size_t alive_bytes; /* used_bytes after the last full collection, or less */
    size_t kept_bytes;
    uint32_t kept;      /* number of kept blocks, the one freed last at the end */
    uint32_t quiet;     /* requests since a large block was needed */
    size_t string_head; /* bytes before the text in a string's block; 0: no seats */
    void *newest;       /* the large block that Lua got last */
    dirty_lua_seat seat;
    dirty_lua_block blocks[DIRTY_LUA_KEEP_BLOCKS];
} dirty_lua_memory;

/* Install it around the allocator of L. `m` must stay valid until
 * dirty_lua_memory_remove. */
void dirty_lua_memory_install(dirty_lua_memory *m, lua_State *L);

/* Call it at the end of a request. Frees kept blocks that were not needed for long.
 * Returns whether a full collection is due. `heap_bytes` is the size of the Lua heap. */
bool dirty_lua_memory_tidy(dirty_lua_memory *m, size_t heap_bytes);

/* Note that a full collection was made. */
void dirty_lua_memory_collected(dirty_lua_memory *m);

/* Find out whether seats work. Call it once, after install. [-0, +0, e] */
void dirty_lua_memory_try_seat(dirty_lua_memory *m, lua_State *L);

/* Room for the text of a string of `len` bytes. NULL if there can be no seat: the string
 * is too short, memory is out, or seats don't work in this state. One seat at a time. */
char *dirty_lua_memory_seat(dirty_lua_memory *m, size_t len);

/* Push the seat's bytes as a string. The seat then belongs to Lua or is freed. [-0, +1,
 * e] */
void dirty_lua_memory_push_seat(dirty_lua_memory *m, lua_State *L);

/* Free the seat, if there is one that was not pushed. */
void dirty_lua_memory_unseat(dirty_lua_memory *m);

/* Free all kept blocks and restore the inner allocator. Call it before lua_close, which
 * frees its memory as a whole only with its own allocator. */
void dirty_lua_memory_remove(dirty_lua_memory *m, lua_State *L);

#endif
