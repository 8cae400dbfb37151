/* The limit of a Lua heap: what is granted, told and refused. */
#include "harness.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "worker/lua_limit.h"

#define MIB ((size_t)1 << 20)

typedef struct heap {
    lua_State *L;
    dirty_lua_limit limit;
    int told;
} heap;

static void on_over(void *ctx) {
    ((heap *)ctx)->told++;
}

static int collect(lua_State *L) {
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

static void on_collect(void *ctx, lua_State *L) {
    (void)ctx;
    assert_int_equal(lua_cpcall(L, collect, NULL), 0);
}

static heap open_heap(void) {
    heap h = {.L = luaL_newstate()};
    assert_non_null(h.L);
    return h;
}

static void install(heap *h, size_t limit) {
    h->limit.over = on_over;
    h->limit.collect = on_collect;
    h->limit.ctx = h;
    dirty_lua_limit_install(&h->limit, h->L, limit);
}

static void close_heap(heap *h) {
    dirty_lua_limit_remove(&h->limit, h->L);
    lua_close(h->L);
}

/* Push a string of so many bytes; false: no memory. */
static int push_string(lua_State *L) {
    size_t len = *(size_t *)lua_touserdata(L, 1);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < len; i += 64)
        luaL_addlstring(
            &b, "0123456789012345678901234567890123456789012345678901234567890123", 64);
    luaL_pushresult(&b);
    lua_setglobal(L, "held");
    return 0;
}

static bool hold(heap *h, size_t len) {
    int status = lua_cpcall(h->L, push_string, &len);
    lua_settop(h->L, 0);
    return status == 0;
}

static void drop(heap *h) {
    lua_pushnil(h->L);
    lua_setglobal(h->L, "held");
}

static size_t counted(const heap *h) {
    return (size_t)lua_gc(h->L, LUA_GCCOUNT, 0) * 1024 +
           (size_t)lua_gc(h->L, LUA_GCCOUNTB, 0);
}

static void it_counts_as_lua_does(void **state) {
    (void)state;
    heap h = open_heap();
    install(&h, 64 * MIB);
    assert_int_equal(h.limit.used, counted(&h));
    luaL_openlibs(h.L);
    assert_int_equal(h.limit.used, counted(&h));
    assert_true(hold(&h, 2 * MIB));
    assert_int_equal(h.limit.used, counted(&h));
    drop(&h);
    lua_gc(h.L, LUA_GCCOLLECT, 0);
    assert_int_equal(h.limit.used, counted(&h));
    assert_int_equal(h.told, 0);
    assert_false(dirty_lua_limit_was_passed(&h.limit));
    close_heap(&h);
}

static void what_passes_the_limit_is_granted_and_told(void **state) {
    (void)state;
    heap h = open_heap();
    install(&h, 4 * MIB);
    assert_true(hold(&h, 16 * MIB));
    assert_in_range(h.told, 1, 64);
    assert_true(dirty_lua_limit_was_passed(&h.limit));
    assert_false(dirty_lua_limit_relieve(&h.limit, h.L)); /* it is in use */
    drop(&h);
    assert_true(dirty_lua_limit_relieve(&h.limit, h.L)); /* it was garbage */
    assert_false(dirty_lua_limit_was_passed(&h.limit));
    h.told = 0;
    assert_true(hold(&h, 1 * MIB));
    assert_int_equal(h.told, 0);
    close_heap(&h);
}

static void what_passes_the_ceiling_is_refused(void **state) {
    (void)state;
    heap h = open_heap();
    install(&h, 1 * MIB);
    assert_int_equal(h.limit.ceiling, 2 * MIB + DIRTY_LUA_CEILING_BYTES);
    assert_false(hold(&h, 256 * MIB));
    assert_true(h.limit.used <= h.limit.ceiling);
    assert_true(dirty_lua_limit_relieve(&h.limit, h.L));
    assert_true(hold(&h, 64 * 1024));
    close_heap(&h);
}

static void a_shrink_is_never_refused(void **state) {
    (void)state;
    heap h = open_heap();
    install(&h, 1 * MIB);
    void *ctx;
    lua_Alloc alloc = lua_getallocf(h.L, &ctx);
    void *block = alloc(ctx, NULL, 0, 8 * MIB);
    assert_non_null(block);
    h.limit.ceiling = h.limit.alarm = h.limit.limit = 1; /* as if it were far over */
    assert_null(alloc(ctx, block, 8 * MIB, 9 * MIB));
    block = alloc(ctx, block, 8 * MIB, 4 * MIB);
    assert_non_null(block);
    assert_null(alloc(ctx, block, 4 * MIB, 0));
    assert_int_equal(h.limit.used, counted(&h));
    close_heap(&h);
}

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    heap h = open_heap();
    install(&h, 1 * MIB);
    void *ctx;
    lua_Alloc alloc = lua_getallocf(h.L, &ctx);
    assert_null(alloc(ctx, NULL, 0, SIZE_MAX));
    dirty_lua_limit_remove(&h.limit, h.L);
    install(&h, SIZE_MAX);
    assert_int_equal(h.limit.ceiling, SIZE_MAX);
    close_heap(&h);
}

static void the_first_allocator_comes_back(void **state) {
    (void)state;
    heap h = open_heap();
    void *before, *after;
    lua_Alloc alloc = lua_getallocf(h.L, &before);
    install(&h, 1 * MIB);
    dirty_lua_limit_remove(&h.limit, h.L);
    assert_ptr_equal(lua_getallocf(h.L, &after), alloc);
    assert_ptr_equal(before, after);
    dirty_lua_limit_remove(&h.limit, h.L); /* once more is harmless */
    close_heap(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_counts_as_lua_does),
        cmocka_unit_test(what_passes_the_limit_is_granted_and_told),
        cmocka_unit_test(what_passes_the_ceiling_is_refused),
        cmocka_unit_test(a_shrink_is_never_refused),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(the_first_allocator_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
