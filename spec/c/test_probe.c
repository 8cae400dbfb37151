/* The probe: what is learnt of apps in a throw-away child. */
#include "lane_rig.h"

#include "worker/probe.h"

static rig_apps apps;

static int open_apps(void **state) {
    (void)state;
    rig_apps_open(&apps);
    return 0;
}

static int close_apps(void **state) {
    (void)state;
    rig_apps_close(&apps);
    return 0;
}

/* Probe apps, at most 8, and return what was reported. */
static dirty_buf probe(const dirty_app_spec *specs, uint32_t count, bool boot,
                       uint32_t timeout_ms) {
    rig r;
    rig_init(&r, 1);
    r.start.lua_path = apps.path;
    for (uint32_t i = 0; i < count; i++)
        rig_add_app(&r, &specs[i]);
    dirty_probe p = {.start = &r.start, .boot = boot, .timeout_ms = timeout_ms};
    dirty_buf out = {0};
    assert_int_equal(dirty_probe_run(&p, &out), 0);
    dirty_buf_append(&out, "", 1);
    assert_false(dirty_buf_failed(&out));
    return out;
}

static size_t count_lines(const dirty_buf *out) {
    size_t lines = 0;
    for (size_t i = 0; i < out->len; i++)
        lines += out->base[i] == '\n';
    return lines;
}

static void assert_says(const dirty_buf *out, const char *what) {
    if (strstr((const char *)out->base, what) == NULL)
        fail_msg("not found: %s\nin: %s", what, (const char *)out->base);
}

/* Probe one app of that text and expect to be told `what`. */
static void assert_told(const char *text, const char *what) {
    rig_apps_write(&apps, "under_test", text);
    dirty_app_spec spec = {
        .name = "test", .module = "under_test", .options = "{\"n\":7}"};
    dirty_buf out = probe(&spec, 1, true, 20000);
    assert_int_equal(count_lines(&out), 1);
    assert_says(&out, "{\"app\":\"test\",");
    assert_says(&out, what);
    dirty_buf_deinit(&out);
}

static void declarations_are_reported(void **state) {
    (void)state;
    assert_told("return require('dirty').app{workers=2,timeout=1.5,max_queue=9}",
                "\"workers\":2");
    assert_told("return require('dirty').app{timeout=1.5}",
                "\"ok\":true,\"declared\":{\"timeout\":1.5},\"file\":");
    assert_told("return {}", "\"declared\":{}");
}

static void a_wrong_declaration_names_the_right_one(void **state) {
    (void)state;
    assert_told("return require('dirty').app{worker=2}",
                "dirty.app has no option 'worker' (did you mean 'workers'?)");
    assert_told("return require('dirty').app{workers=0.5}",
                "workers must be a whole number from 1 to 4096, not 0.5");
}

static void load_errors_name_the_place(void **state) {
    (void)state;
    assert_told("return {\n  x = = 1\n}", "under_test.lua:2:");
    assert_told("error('no luck')", "under_test.lua:1: no luck");
    assert_told("error({code = 5})", "error object: {\\\"code\\\":5}");
    assert_told("return 5",
                "module 'under_test' returned a number: an app must be a table");
    assert_told("local x = 1", "returned a boolean (nothing): an app must be a table");
}

static void boot_errors_name_the_phase(void **state) {
    (void)state;
    assert_told("return { new = function() return 1 end }", "\"phase\":\"new\"");
    assert_told("return { init = function() error('cold') end }", "\"phase\":\"init\"");
    assert_told("return { init = function() return nil, 'no model' end }", "no model");
    assert_told("return { init = function(_, o) assert(o.n == 7) end }", "\"ok\":true");
}

static void what_the_runtime_calls_must_be_functions(void **state) {
    (void)state;
    assert_told("return { call = 5 }",
                "\"phase\":\"load\",\"message\":\"'call' of the app "
                "'test' is a number: new, init, call and close");
    assert_told("return { new = 3 }", "'new' of the app 'test' is a number");
    assert_told("return { close = {} }", "'close' of the app 'test' is a table");
    assert_told("return { new = function() return { init = 1 } end }",
                "'init' of the object that new returned is a number");
}

static void without_boot_only_loading_is_tried(void **state) {
    (void)state;
    rig_apps_write(&apps, "cold", "return { init = function() error('cold') end }");
    dirty_app_spec spec = {.name = "cold", .module = "cold"};
    dirty_buf out = probe(&spec, 1, false, 20000);
    assert_says(&out, "\"ok\":true");
    dirty_buf_deinit(&out);
}

static void what_is_missing_is_named(void **state) {
    (void)state;
    rig_apps_write(&apps, "ml", "return { Model = {}, n = 1 }");
    dirty_app_spec specs[] = {
        {.name = "a", .module = "not.there"},
        {.name = "b", .module = "ml", .object = "Modle"},
        {.name = "c", .module = "ml", .object = "n"},
        {.name = "d", .module = "ml", .object = "Model"},
    };
    dirty_buf out = probe(specs, 4, true, 20000);
    assert_int_equal(count_lines(&out), 4);
    assert_says(&out, "was not found at\\n  /tmp/dirty-rig-");
    assert_says(&out, "has no field 'Modle' (did you mean 'Model'?)");
    assert_says(&out, "'n' of module 'ml' is a number: an app must be a table");
    assert_says(&out, "{\"app\":\"d\",\"ok\":true");
    dirty_buf_deinit(&out);
}

static void an_app_that_ends_the_process_does_not_hide_the_next(void **state) {
    (void)state;
    rig_apps_write(&apps, "killer",
                   "require('ffi').cdef('int raise(int);')\n"
                   "return { init = function()\n"
                   "  require('ffi').C.raise(9) end }");
    rig_apps_write(&apps, "quitter",
                   "require('ffi').cdef('void _exit(int);')\n"
                   "require('ffi').C._exit(3)");
    rig_apps_write(&apps, "good", "return {}");
    dirty_app_spec specs[] = {{.name = "killer", .module = "killer"},
                              {.name = "quitter", .module = "quitter"},
                              {.name = "good", .module = "good"}};
    dirty_buf out = probe(specs, 3, true, 20000);
    assert_int_equal(count_lines(&out), 3);
    assert_says(&out, "{\"app\":\"killer\",\"ok\":false,\"phase\":\"init\",\"message\":"
                      "\"it ended the process by signal 9 (Killed)\"");
    assert_says(&out, "{\"app\":\"quitter\",\"ok\":false,\"phase\":\"load\",\"message\":"
                      "\"it ended the process with status 3\"");
    assert_says(&out, "{\"app\":\"good\",\"ok\":true");
    dirty_buf_deinit(&out);
}

static void an_app_that_hangs_is_ended(void **state) {
    (void)state;
    rig_apps_write(&apps, "loop", "while true do end");
    rig_apps_write(&apps, "good", "return {}");
    dirty_app_spec specs[] = {{.name = "loop", .module = "loop"},
                              {.name = "good", .module = "good"}};
    dirty_buf out = probe(specs, 2, true, 1500);
    assert_int_equal(count_lines(&out), 2);
    assert_says(&out, "\"message\":\"it took longer than 1.5 s\"");
    assert_says(&out, "{\"app\":\"good\",\"ok\":true");
    dirty_buf_deinit(&out);
}

static void a_close_that_hangs_is_told_as_such(void **state) {
    (void)state;
    rig_apps_write(&apps, "stays", "return { close = function() while true do end end }");
    dirty_app_spec spec = {.name = "stays", .module = "stays"};
    dirty_buf out = probe(&spec, 1, true, 2000);
    assert_says(&out, "\"phase\":\"close\",\"message\":\"it took longer than 2 s\"");
    dirty_buf_deinit(&out);
}

/* As of an install whose Lua modules are not where they should be. */
static void without_the_runtimes_modules_every_app_is_told_why(void **state) {
    (void)state;
    rig r;
    rig_init(&r, 1);
    r.start.lua_path = "/nowhere/?.lua";
    dirty_app_spec specs[] = {{.name = "a", .module = "a"}, {.name = "b", .module = "b"}};
    rig_add_app(&r, &specs[0]);
    rig_add_app(&r, &specs[1]);
    dirty_probe p = {.start = &r.start, .boot = true, .timeout_ms = 20000};
    dirty_buf out = {0};
    assert_int_equal(dirty_probe_run(&p, &out), 0);
    dirty_buf_append(&out, "", 1);
    assert_int_equal(count_lines(&out), 2);
    assert_says(&out, "{\"app\":\"a\",\"ok\":false,\"phase\":\"load\",\"message\":"
                      "\"module 'dirty");
    assert_says(&out, "\n{\"app\":\"b\",\"ok\":false,\"phase\":\"load\",\"message\":"
                      "\"module 'dirty");
    assert_says(&out, ",\"ms\":");
    assert_null(strstr((const char *)out.base, "it ended the process"));
    dirty_buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declarations_are_reported),
        cmocka_unit_test(a_wrong_declaration_names_the_right_one),
        cmocka_unit_test(load_errors_name_the_place),
        cmocka_unit_test(boot_errors_name_the_phase),
        cmocka_unit_test(what_the_runtime_calls_must_be_functions),
        cmocka_unit_test(without_boot_only_loading_is_tried),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(an_app_that_ends_the_process_does_not_hide_the_next),
        cmocka_unit_test(an_app_that_hangs_is_ended),
        cmocka_unit_test(a_close_that_hangs_is_told_as_such),
        cmocka_unit_test(without_the_runtimes_modules_every_app_is_told_why),
    };
    return cmocka_run_group_tests(tests, open_apps, close_apps);
}
