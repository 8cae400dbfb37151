/* lua_memory: the allocator of a lane's Lua state, around the one that LuaJIT made.
 *
 * LuaJIT's allocator maps every block from 128 KiB up by itself and unmaps it when it is
 * freed. A lane that gets 1 MB strings would so pay 256 page faults for each, more than
 * the rest of the request costs. Here freed large blocks are kept for the next of about
 * the same size: at most DIRTY_LUA_KEEP_BYTES of them, given back after
 * DIRTY_LUA_KEEP_REQUESTS requests that needed none.
 *
 * A large block can also be a *seat*: bytes are received into it, and it then becomes the
 * very string that Lua makes of them, which saves the largest copy of a request. That is
 * built on how LuaJIT makes a string (one block: a head, the bytes, a NUL; the bytes come
 * by memcpy, which does nothing when they are there already). It is tried once in every
 * state, and where it is not found to be so there are no seats.
 *
 * It counts what Lua has, and tells `over` when that passes `alarm_bytes`
 * (worker/lua_collector.h).
 *
 * All blocks are the inner allocator's, also those that are kept, so it can be put back
 * at any time. The owner embeds this; one thread uses it. */
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

/* Received bytes that are to be a string. */
typedef struct dirty_lua_seat {
    void *base; /* owned until Lua has it; NULL: no seat is out */
    size_t room;
    size_t len;   /* of the string */
    bool offered; /* the next block of that size is this one */
} dirty_lua_seat;

typedef struct dirty_lua_memory {
    lua_Alloc inner;
    void *inner_ctx;
    size_t held_bytes;       /* of all blocks that Lua has */
    size_t alarm_bytes;      /* more than this: tell `over`, once; SIZE_MAX: never */
    void (*over)(void *ctx); /* called by the allocator: must not use Lua's heap */
    void *over_ctx;
    size_t used_bytes;  /* of the large blocks that Lua has */
    size_t alive_bytes; /* the same after the last collection, or less */
    size_t kept_bytes;
    uint32_t kept;      /* blocks, the one freed last at the end */
    uint32_t quiet;     /* requests since a large block was wanted */
    size_t string_head; /* bytes of a string's block before its text; 0: no seats */
    void *newest;       /* the large block that Lua was given last */
    dirty_lua_seat seat;
    dirty_lua_block blocks[DIRTY_LUA_KEEP_BLOCKS];
} dirty_lua_memory;

/* Put itself before the allocator of L. `m` must stay until it is removed. */
void dirty_lua_memory_install(dirty_lua_memory *m, lua_State *L);

/* The end of a request: give blocks back that were not wanted for long. Returns whether a
 * full collection is due; `heap_bytes` is the size of the Lua heap. */
bool dirty_lua_memory_tidy(dirty_lua_memory *m, size_t heap_bytes);

/* A full collection was made. */
void dirty_lua_memory_collected(dirty_lua_memory *m);

/* Find out whether there can be seats. Call once, after install. [-0, +0, e] */
void dirty_lua_memory_try_seat(dirty_lua_memory *m, lua_State *L);

/* Room for the text of a string of `len` bytes, NULL where there can be no seat: too
 * short, no memory, or none in this state. One seat is out at a time. */
char *dirty_lua_memory_seat(dirty_lua_memory *m, size_t len);

/* Push the seat's bytes as a string; the seat is Lua's, or given back. [-0, +1, e] */
void dirty_lua_memory_push_seat(dirty_lua_memory *m, lua_State *L);

/* Give back a seat that has not been pushed, if there is one. */
void dirty_lua_memory_unseat(dirty_lua_memory *m);

/* Give all kept blocks back and restore the inner allocator: before lua_close, which
 * frees its whole memory only if it is its own. */
void dirty_lua_memory_remove(dirty_lua_memory *m, lua_State *L);

#endif
