/* The allocator around LuaJIT's: large blocks are kept and reused, the rest passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "worker/lua_memory.h"

#define MB ((size_t)1 << 20)

/* An inner allocator that counts, and fails when told to. */
typedef struct counted {
    unsigned blocks, calls;
    unsigned failures; /* how many of the next allocations fail */
} counted;

static void *count_alloc(void *ctx, void *block, size_t old, size_t size) {
    counted *c = ctx;
    (void)old;
    c->calls++;
    if (size == 0) {
        c->blocks -= block != NULL;
        free(block);
        return NULL;
    }
    if (c->failures > 0) {
        c->failures--;
        return NULL;
    }
    c->blocks += block == NULL;
    return realloc(block, size);
}

typedef struct fixture {
    lua_State *L;
    dirty_lua_memory memory;
    counted inner;
    lua_Alloc alloc;
    void *ctx;
    lua_Alloc real;
    void *real_ctx;
    void *stolen;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->L = luaL_newstate();
    assert_non_null(f->L);
    f->real = lua_getallocf(f->L, &f->real_ctx);
    dirty_lua_memory_install(&f->memory, f->L);
    f->alloc = lua_getallocf(f->L, &f->ctx);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    f->memory.inner = f->real;
    f->memory.inner_ctx = f->real_ctx;
    dirty_lua_memory_remove(&f->memory, f->L);
    lua_close(f->L);
    free(f);
    return 0;
}

/* From here on the test calls the allocator by itself, and Lua does not run. */
static fixture *counting(void **state) {
    fixture *f = *state;
    f->memory.inner = count_alloc;
    f->memory.inner_ctx = &f->inner;
    return f;
}

static void *get(fixture *f, size_t size) {
    void *block = f->alloc(f->ctx, NULL, 0, size);
    if (block != NULL)
        memset(block, 0xa5, size);
    return block;
}

static void put(fixture *f, void *block, size_t size) {
    assert_null(f->alloc(f->ctx, block, size, 0));
}

static void give_back_kept(fixture *f) {
    for (int i = 0; i <= DIRTY_LUA_KEEP_REQUESTS; i++)
        dirty_lua_memory_tidy(&f->memory, 0);
    assert_int_equal(f->memory.kept, 0);
    assert_int_equal(f->memory.kept_bytes, 0);
    assert_int_equal(f->memory.used_bytes, 0);
    assert_int_equal(f->inner.blocks, 0);
}

static void small_blocks_pass_through(void **state) {
    fixture *f = counting(state);
    void *block = get(f, DIRTY_LUA_LARGE_BYTES - 1);
    put(f, block, DIRTY_LUA_LARGE_BYTES - 1);
    assert_int_equal(f->inner.calls, 2);
    assert_int_equal(f->inner.blocks, 0);
    assert_int_equal(f->memory.kept, 0);
}

static void a_freed_large_block_is_the_next_one(void **state) {
    fixture *f = counting(state);
    void *first = get(f, MB + 17);
    put(f, first, MB + 17);
    assert_int_equal(f->inner.blocks, 1);
    void *second = get(f, MB + 1000); /* of the same class of sizes */
    assert_ptr_equal(second, first);
    assert_int_equal(f->inner.calls, 1);
    put(f, second, MB + 1000);
    give_back_kept(f);
}

static void a_block_of_another_size_is_not_taken(void **state) {
    fixture *f = counting(state);
    void *first = get(f, MB);
    put(f, first, MB);
    void *second = get(f, 2 * MB);
    assert_int_equal(f->inner.blocks, 2);
    put(f, second, 2 * MB);
    give_back_kept(f);
}

static void every_size_fits_its_block(void **state) {
    fixture *f = counting(state);
    for (size_t size = DIRTY_LUA_LARGE_BYTES; size < 3 * MB; size += 60013) {
        void *block = get(f, size); /* written over its whole length */
        assert_non_null(block);
        put(f, block, size);
    }
    give_back_kept(f);
}

static void growing_and_shrinking_keep_the_bytes(void **state) {
    fixture *f = counting(state);
    size_t sizes[] = {1000, MB, MB + 100, 3 * MB, 200000, 100, 5 * MB, 7};
    unsigned char *block = get(f, 7);
    size_t old = 7;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        block = f->alloc(f->ctx, block, old, sizes[i]);
        assert_non_null(block);
        for (size_t at = 0; at < 7; at++)
            assert_int_equal(block[at], 0xa5);
        memset(block, 0xa5, sizes[i]);
        old = sizes[i];
    }
    put(f, block, old);
    give_back_kept(f);
}

static void what_is_kept_is_bounded(void **state) {
    fixture *f = counting(state);
    void *blocks[20];
    for (size_t i = 0; i < 20; i++)
        blocks[i] = get(f, MB);
    for (size_t i = 0; i < 20; i++)
        put(f, blocks[i], MB);
    assert_in_range(f->memory.kept_bytes, MB, DIRTY_LUA_KEEP_BYTES);
    assert_in_range(f->memory.kept, 1, DIRTY_LUA_KEEP_BLOCKS);
    assert_int_equal(f->inner.blocks, f->memory.kept);
    void *huge = get(f, 2 * DIRTY_LUA_KEEP_BYTES);
    unsigned kept = f->memory.kept;
    put(f, huge, 2 * DIRTY_LUA_KEEP_BYTES);
    assert_int_equal(f->inner.blocks, kept);
    give_back_kept(f);
}

static void kept_blocks_go_before_memory_is_out(void **state) {
    fixture *f = counting(state);
    void *block = get(f, MB);
    put(f, block, MB);
    f->inner.failures = 1;
    block = get(f, 2 * MB);
    assert_non_null(block);
    assert_int_equal(f->memory.kept, 0);
    f->inner.failures = 1;
    assert_null(f->alloc(f->ctx, block, 2 * MB, 4 * MB)); /* and the block is as it was */
    put(f, block, 2 * MB);
    give_back_kept(f);
}

static void a_collection_is_due_after_much_garbage(void **state) {
    fixture *f = *state;
    char *text = malloc(MB);
    unsigned due = 0;
    memset(text, 'x', MB);
    for (int i = 0; i < 64; i++) {
        lua_gc(f->L, LUA_GCSTOP, 0); /* no step of the collector comes in between */
        memcpy(text, &i, sizeof i);
        lua_pushlstring(f->L, text, MB);
        lua_settop(f->L, 0);
        size_t heap = (size_t)lua_gc(f->L, LUA_GCCOUNT, 0) * 1024;
        if (!dirty_lua_memory_tidy(&f->memory, heap))
            continue;
        due++;
        lua_gc(f->L, LUA_GCCOLLECT, 0);
        dirty_lua_memory_collected(&f->memory);
        assert_int_equal(f->memory.used_bytes, 0);
        assert_true(f->memory.kept > 0);
    }
    assert_int_equal(due, 16);
    free(text);
}

static void no_collection_is_due_for_what_stays(void **state) {
    fixture *f = *state;
    char *text = calloc(1, 8 * MB);
    lua_pushlstring(f->L, text, 8 * MB);
    assert_true(dirty_lua_memory_tidy(&f->memory, 9 * MB));
    lua_gc(f->L, LUA_GCCOLLECT, 0);
    dirty_lua_memory_collected(&f->memory);
    assert_true(f->memory.used_bytes >= 8 * MB);
    assert_false(dirty_lua_memory_tidy(&f->memory, 9 * MB));
    free(text);
}

static void a_large_heap_is_left_to_its_collector(void **state) {
    fixture *f = *state;
    char *text = calloc(1, 8 * MB);
    lua_pushlstring(f->L, text, 8 * MB);
    assert_false(dirty_lua_memory_tidy(&f->memory, 8 * MB + 64 * MB));
    free(text);
}

/* -- What Lua holds ------------------------------------------------------------------ */

static size_t counted_by_lua(lua_State *L) {
    return (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
}

/* Strings and tables of many sizes, large ones that grow and shrink among them. */
static const char allocations[] = "local held = {}\n"
                                  "for i = 1, 200 do\n"
                                  "    held[i] = ('x'):rep(i * 3000) .. i\n"
                                  "    held[-i] = { i }\n"
                                  "end\n"
                                  "for i = 1, 100000 do held[i] = i end\n"
                                  "for i = 1, 100000, 2 do held[i] = nil end\n"
                                  "collectgarbage()";

static void it_counts_what_lua_holds(void **state) {
    fixture *f = *state;
    assert_int_equal(f->memory.held_bytes, counted_by_lua(f->L));
    luaL_openlibs(f->L);
    assert_int_equal(luaL_dostring(f->L, allocations), 0);
    assert_int_equal(f->memory.held_bytes, counted_by_lua(f->L));
    lua_gc(f->L, LUA_GCCOLLECT, 0);
    assert_int_equal(f->memory.held_bytes, counted_by_lua(f->L));
}

static void what_fails_is_not_counted(void **state) {
    fixture *f = counting(state);
    size_t before = f->memory.held_bytes;
    f->inner.failures = 2; /* what is kept is given back, then it is tried once more */
    assert_null(f->alloc(f->ctx, NULL, 0, 64));
    f->inner.failures = 2;
    assert_null(f->alloc(f->ctx, NULL, 0, MB));
    f->inner.failures = 0;
    assert_int_equal(f->memory.held_bytes, before);
    void *block = f->alloc(f->ctx, NULL, 0, 64);
    assert_int_equal(f->memory.held_bytes, before + 64);
    f->inner.failures = 2;
    assert_null(f->alloc(f->ctx, block, 64, 2 * MB));
    f->inner.failures = 0;
    assert_int_equal(f->memory.held_bytes, before + 64);
    assert_null(f->alloc(f->ctx, block, 64, 0));
    assert_int_equal(f->memory.held_bytes, before);
}

static void count_alarm(void *ctx) {
    ++*(int *)ctx;
}

static void more_than_the_alarm_is_told_once(void **state) {
    fixture *f = *state;
    int alarms = 0;
    f->memory.over = count_alarm;
    f->memory.over_ctx = &alarms;
    lua_pushlstring(f->L, "before the alarm", 16);
    assert_int_equal(alarms, 0);
    f->memory.alarm_bytes = f->memory.held_bytes + 1000;
    lua_newuserdata(f->L, 800);
    assert_int_equal(alarms, 0);
    lua_newuserdata(f->L, 800);
    assert_int_equal(alarms, 1);
    lua_newuserdata(f->L, 4 * MB);
    assert_int_equal(alarms, 1);
    f->memory.alarm_bytes = f->memory.held_bytes;
    lua_newuserdata(f->L, 4 * MB);
    assert_int_equal(alarms, 2);
}

/* -- Seats ------------------------------------------------------------------------- */

static int try_seat(lua_State *L) {
    dirty_lua_memory_try_seat(lua_touserdata(L, 1), L);
    return 0;
}

static int push_seat(lua_State *L) {
    dirty_lua_memory_push_seat(lua_touserdata(L, 1), L);
    return 1;
}

/* In a protected call, as the host does it; its status, the result on the stack. */
static int protected(fixture *f, lua_CFunction function) {
    lua_pushcfunction(f->L, function);
    lua_pushlightuserdata(f->L, &f->memory);
    return lua_pcall(f->L, 1, LUA_MULTRET, 0);
}

/* A seat of that length with bytes in it. */
static char *seat(fixture *f, size_t len, int seed) {
    char *text = dirty_lua_memory_seat(&f->memory, len);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)(i * 13 + (size_t)seed);
    return text;
}

static void a_seat_becomes_the_string(void **state) {
    fixture *f = *state;
    assert_int_equal(protected(f, try_seat), 0);
    assert_true(f->memory.string_head > 0);
    for (size_t len = DIRTY_LUA_LARGE_BYTES; len < 3 * MB; len += 50021) {
        char *text = seat(f, len, 1);
        char *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, text, len);
        assert_int_equal(protected(f, push_seat), 0);
        assert_int_equal(lua_objlen(f->L, -1), len);
        assert_memory_equal(lua_tostring(f->L, -1), copy, len);
        assert_int_equal(lua_tostring(f->L, -1)[len], 0);
        lua_pushlstring(f->L, copy, len); /* and is the one string of these bytes */
        assert_true(lua_rawequal(f->L, -1, -2));
        lua_settop(f->L, 0);
        lua_gc(f->L, LUA_GCCOLLECT, 0);
        assert_int_equal(f->memory.used_bytes, 0);
        free(copy);
    }
}

static void a_seat_of_bytes_that_are_a_string_is_given_back(void **state) {
    fixture *f = *state;
    assert_int_equal(protected(f, try_seat), 0);
    char *first = seat(f, MB, 2);
    assert_int_equal(protected(f, push_seat), 0);
    assert_ptr_equal(lua_tostring(f->L, 1), first);
    assert_ptr_not_equal(seat(f, MB, 2), first);
    assert_int_equal(protected(f, push_seat), 0);
    assert_ptr_equal(lua_tostring(f->L, 2), first);
    assert_int_equal(f->memory.kept, 1);
}

static void a_seat_that_is_not_wanted_is_given_back(void **state) {
    fixture *f = *state;
    assert_int_equal(protected(f, try_seat), 0);
    char *text = seat(f, MB, 3);
    assert_int_equal(f->memory.kept, 0);
    dirty_lua_memory_unseat(&f->memory);
    assert_int_equal(f->memory.kept, 1);
    assert_ptr_equal(seat(f, MB, 4), text);
    assert_int_equal(f->memory.used_bytes, 0);
}

static void small_strings_have_no_seat(void **state) {
    fixture *f = *state;
    assert_null(dirty_lua_memory_seat(&f->memory, MB)); /* not tried yet */
    assert_int_equal(protected(f, try_seat), 0);
    assert_null(dirty_lua_memory_seat(&f->memory, DIRTY_LUA_LARGE_BYTES - 1));
    assert_null(dirty_lua_memory_seat(&f->memory, (size_t)1 << 31));
}

/* A finalizer that asks for a block of the string's size at the worst moment. */
static int steal(lua_State *L) {
    fixture *f = lua_touserdata(L, lua_upvalueindex(1));
    f->stolen = f->alloc(f->ctx, NULL, 0, f->memory.string_head + MB + 1);
    assert_non_null(f->stolen);
    return 0;
}

static int push_seat_in_a_cycle(lua_State *L) {
    lua_gc(L, LUA_GCRESTART, 0); /* the next check makes a step */
    return push_seat(L);
}

static void a_stolen_seat_is_an_error(void **state) {
    fixture *f = *state;
    lua_State *L = f->L;
    assert_int_equal(protected(f, try_seat), 0);
    lua_newuserdata(L, 1);
    lua_newtable(L);
    lua_pushlightuserdata(L, f);
    lua_pushcclosure(L, steal, 1);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_settop(L, 0);
    lua_gc(L, LUA_GCSETSTEPMUL, 1000000); /* a step is a whole cycle */
    seat(f, MB, 5);
    assert_int_equal(protected(f, push_seat_in_a_cycle), LUA_ERRRUN);
    assert_non_null(strstr(lua_tostring(L, -1), "a finalizer took the memory"));
    assert_null(f->memory.seat.base);
    f->alloc(f->ctx, f->stolen, f->memory.string_head + MB + 1, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(small_blocks_pass_through),
        TEST(a_freed_large_block_is_the_next_one),
        TEST(a_block_of_another_size_is_not_taken),
        TEST(every_size_fits_its_block),
        TEST(growing_and_shrinking_keep_the_bytes),
        TEST(what_is_kept_is_bounded),
        TEST(kept_blocks_go_before_memory_is_out),
        TEST(a_collection_is_due_after_much_garbage),
        TEST(no_collection_is_due_for_what_stays),
        TEST(a_large_heap_is_left_to_its_collector),
        TEST(it_counts_what_lua_holds),
        TEST(what_fails_is_not_counted),
        TEST(more_than_the_alarm_is_told_once),
        TEST(a_seat_becomes_the_string),
        TEST(a_seat_of_bytes_that_are_a_string_is_given_back),
        TEST(a_seat_that_is_not_wanted_is_given_back),
        TEST(small_strings_have_no_seat),
        TEST(a_stolen_seat_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
