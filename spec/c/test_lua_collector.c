/* When the garbage of a lane is collected, by the test's own hand. */
#include "harness.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "base/log.h"
#include "worker/lua_collector.h"

#define MIB ((size_t)1 << 20)

typedef struct fixture {
    lua_State *L;
    dirty_lua_memory memory;
    dirty_lua_collector collector;
    int alarms;
} fixture;

static void count_alarm(void *ctx) {
    ((fixture *)ctx)->alarms++;
}

static int open_collector(lua_State *L) {
    fixture *f = lua_touserdata(L, 1);
    luaL_openlibs(L);
    dirty_lua_collector_open(&f->collector, &f->memory, L);
    return 0;
}

/* leave(n) leaves objects whose finalizers count and, unless they are quiet, raise;
 * litter(kib) leaves garbage.
 */
static const char prelude[] =
    "finalized, serial = 0, 0 -- no string twice\n"
    "function leave(n, quiet)\n"
    "    for i = 1, n do\n"
    "        local p = newproxy(true)\n"
    "        getmetatable(p).__gc = function()\n"
    "            finalized = finalized + 1\n"
    "            if not quiet then error(i % 2 == 0 and 'raised' or {}) end\n"
    "        end\n"
    "    end\n"
    "end\n"
    "function litter(kib)\n"
    "    for i = 1, kib do serial = serial + 1 kept = ('x'):rep(1000) .. serial end\n"
    "end\n";

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->L = luaL_newstate();
    assert_non_null(f->L);
    dirty_log_open("/dev/null", DIRTY_LOG_ERROR);
    dirty_lua_memory_install(&f->memory, f->L);
    f->memory.over = count_alarm;
    f->memory.over_ctx = f;
    assert_int_equal(lua_cpcall(f->L, open_collector, f), 0);
    assert_int_equal(luaL_dostring(f->L, prelude), 0);
    dirty_lua_collector_full(&f->collector, f->L);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    dirty_lua_memory_remove(&f->memory, f->L);
    lua_close(f->L);
    free(f);
    return 0;
}

static void run(fixture *f, const char *code) {
    if (luaL_dostring(f->L, code) != 0)
        fail_msg("%s: %s", code, lua_tostring(f->L, -1));
    assert_int_equal(lua_gettop(f->L), 0);
}

static int finalized(fixture *f) {
    lua_getglobal(f->L, "finalized");
    int n = (int)lua_tointeger(f->L, -1);
    lua_pop(f->L, 1);
    return n;
}

/* LuaJIT of 2024 and before raises a finalizer's error in the code that runs by then;
 * later ones write it to stderr and go on. */
static bool finalizers_raise(void) {
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    luaL_openlibs(L);
    assert_int_equal(luaL_dostring(L, "getmetatable(newproxy(true)).__gc = error\n"
                                      "return pcall(collectgarbage)"),
                     0);
    bool raise = !lua_toboolean(L, 1);
    lua_close(L);
    return raise;
}

static void all_is_collected_whatever_finalizers_raise(void **state) {
    fixture *f = *state;
    run(f, "leave(1000) litter(500)");
    size_t before = f->memory.held_bytes;
    dirty_lua_collector_full(&f->collector, f->L);
    assert_int_equal(finalized(f), 1000);
    assert_int_equal(lua_gettop(f->L), 0);
    assert_true(f->memory.held_bytes < before);
    assert_false(dirty_lua_collector_is_due(&f->collector));
    assert_int_equal(f->collector.errors, 0); /* the log has told of them */
    run(f, "leave(5)");
    dirty_lua_collector_full(&f->collector, f->L);
    assert_int_equal(finalized(f), 1005);
    /* it will, a second later */
    assert_int_equal(f->collector.errors, finalizers_raise() ? 5 : 0);
}

static void nothing_runs_before_it_is_due(void **state) {
    fixture *f = *state;
    run(f, "leave(10)");
    assert_int_equal(f->alarms, 0);
    run(f, "litter(20 * 1024)");
    assert_int_equal(f->alarms, 1);
    assert_true(dirty_lua_collector_is_due(&f->collector));
    assert_true(dirty_lua_collector_is_loose(&f->collector));
    assert_int_equal(finalized(f), 0);
}

static void what_is_put_off_runs_at_last(void **state) {
    fixture *f = *state;
    run(f, "leave(10, true)");
    run(f, "for i = 1, 200 do pcall(litter, 1024) end");
    assert_true(finalized(f) > 0);
    assert_true(f->memory.held_bytes < 100 * MIB);
}

static void steps_keep_the_heap_small(void **state) {
    fixture *f = *state;
    size_t live = f->memory.held_bytes, most = 0;
    run(f, "leave(10)");
    for (int i = 0; i < 500; i++) {
        run(f, "litter(100)");
        if (dirty_lua_collector_is_due(&f->collector))
            dirty_lua_collector_step(&f->collector, f->L);
        if (f->memory.held_bytes > most)
            most = f->memory.held_bytes;
        assert_true(f->memory.alarm_bytes >
                    f->memory.held_bytes + DIRTY_LUA_HOOK_STEP_BYTES / 2);
    }
    assert_int_equal(finalized(f), 10);
    assert_int_equal(f->alarms, 0);
    assert_true(most < 3 * live + MIB);
}

static void a_stopped_collector_stays_stopped(void **state) {
    fixture *f = *state;
    run(f, "leave(10) collectgarbage 'stop'");
    dirty_lua_collector_put_off(&f->collector, f->L);
    run(f, "litter(60 * 1024)");
    dirty_lua_collector_step(&f->collector, f->L);
    assert_int_equal(f->alarms, 0);
    assert_int_equal(finalized(f), 0);
    assert_true(f->memory.held_bytes > 50 * MIB);
    dirty_lua_collector_full(&f->collector, f->L);
    assert_int_equal(finalized(f), 10);
    assert_int_equal(lua_gc(f->L, LUA_GCISRUNNING, 0), 0);
    assert_true(dirty_lua_collector_is_loose(&f->collector));
    run(f, "leave(1) collectgarbage 'restart'");
    dirty_lua_collector_put_off(&f->collector, f->L);
    assert_false(dirty_lua_collector_is_loose(&f->collector));
    dirty_lua_collector_full(&f->collector, f->L);
    assert_int_equal(lua_gc(f->L, LUA_GCISRUNNING, 0), 1);
}

static void turns_end_a_cycle(void **state) {
    fixture *f = *state;
    run(f, "leave(10)");
    int turns = 1;
    while (!dirty_lua_collector_turn(&f->collector, f->L, 10))
        turns++;
    assert_in_range(turns, 2, 10000);
    assert_int_equal(finalized(f), 10);
    run(f, "collectgarbage 'stop'");
    while (!dirty_lua_collector_turn(&f->collector, f->L, 1000))
        continue;
    assert_int_equal(lua_gc(f->L, LUA_GCISRUNNING, 0), 0);
}

static void the_app_keeps_its_own_measure(void **state) {
    fixture *f = *state;
    run(f, "collectgarbage('setpause', 400)");
    dirty_lua_collector_full(&f->collector, f->L);
    assert_true(f->collector.due_bytes > 3 * f->memory.held_bytes);
    run(f, "assert(collectgarbage('setpause', 100) == 400)");
    dirty_lua_collector_full(&f->collector, f->L);
    assert_int_equal(f->collector.due_bytes,
                     f->memory.held_bytes + DIRTY_LUA_IDLE_STEP_BYTES);
}

static void a_limit_is_not_passed_for_it(void **state) {
    fixture *f = *state;
    f->collector.limit_bytes = f->collector.due_bytes + 4 * MIB;
    dirty_lua_collector_full(&f->collector, f->L);
    run(f, "leave(10, true)");
    size_t most = 0;
    for (int i = 0; i < 200; i++) {
        lua_getglobal(f->L, "litter");
        lua_pushinteger(f->L, 100);
        lua_pcall(f->L, 1, 0,
                  0); /* of LuaJIT's own collector a finalizer's error comes */
        lua_settop(f->L, 0);
        if (f->memory.held_bytes > most)
            most = f->memory.held_bytes;
    }
    assert_true(most < f->collector.limit_bytes);
}

static void push_large(fixture *f, int serial) {
    static char bytes[1 << 20];
    memcpy(bytes, &serial, sizeof serial); /* no string twice */
    lua_pushlstring(f->L, bytes, sizeof bytes);
    lua_pop(f->L, 1);
}

/* How many steps are due for `count` strings of 1 MiB that nobody keeps. */
static int steps_for_large(fixture *f, int count) {
    int steps = 0;
    for (int i = 0; i < count; i++) {
        push_large(f, i);
        if (dirty_lua_collector_is_due(&f->collector)) {
            dirty_lua_collector_step(&f->collector, f->L);
            steps++;
        }
    }
    return steps;
}

static void large_strings_cause_few_cycles(void **state) {
    fixture *f = *state;
    assert_in_range(steps_for_large(f, 100), 15, 30);
    assert_int_equal(f->alarms, 0);
    dirty_lua_collector_full(&f->collector, f->L);
    f->collector.limit_bytes = f->memory.held_bytes + 6 * MIB;
    dirty_lua_collector_full(&f->collector, f->L);
    assert_in_range(steps_for_large(f, 100), 45, 100);
    assert_true(f->memory.held_bytes < f->collector.limit_bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(all_is_collected_whatever_finalizers_raise),
        TEST(nothing_runs_before_it_is_due),
        TEST(what_is_put_off_runs_at_last),
        TEST(steps_keep_the_heap_small),
        TEST(a_stopped_collector_stays_stopped),
        TEST(turns_end_a_cycle),
        TEST(the_app_keeps_its_own_measure),
        TEST(a_limit_is_not_passed_for_it),
        TEST(large_strings_cause_few_cycles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
