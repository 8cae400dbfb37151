/* The worker process: lanes, boot and its failures, hooks, how it ends. */
#include "lane_rig.h"

static const dirty_app_spec echo_app = {.name = "apps.echo", .module = "apps.echo"};

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

static rig_frame call(rig *r, uint32_t lane, const char *action, const char *json) {
    rig_caller c = rig_connect();
    dirty_buf frame = {0}, v = {0};
    rig_json(&v, json);
    rig_request(&frame, action, 1, &v);
    rig_dispatch(r, lane, &c, &frame);
    rig_frame f = rig_answer(&c);
    rig_done(r, lane);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    dirty_buf_deinit(&v);
    return f;
}

/* Start a worker of one app with that text. */
static void start_app(rig *r, uint32_t lanes, const dirty_app_spec *spec,
                      const char *text) {
    rig_apps_write(&apps, "under_test", text);
    rig_init(r, lanes);
    r->start.lua_path = apps.path;
    rig_add_app(r, spec);
    rig_start(r);
}

static const dirty_app_spec test_app = {
    .name = "test", .module = "under_test", .options = "{}"};

/* The worker says BOOT_FAILED with these texts and ends. */
static void assert_boot_fails(const char *text, const char *phase, const char *told) {
    rig r;
    struct {
        dirty_msg_plain head;
        char text[DIRTY_CHANNEL_TEXT_MAX + 1];
    } m;
    start_app(&r, 1, &test_app, text);
    size_t len = rig_message(&r, 0, &m, sizeof m - 1);
    assert_true(len > sizeof m.head);
    assert_int_equal(m.head.kind, DIRTY_MSG_BOOT_FAILED);
    assert_int_equal(m.head.len, len - sizeof m.head);
    m.text[m.head.len] = '\0';
    assert_memory_equal(m.text, "{\"app\":\"test\",\"phase\":\"", 22);
    assert_int_equal(m.text[m.head.len - 1], '}');
    if (strstr(m.text, phase) == NULL || strstr(m.text, told) == NULL)
        fail_msg("not found: %s, %s\nin: %s", phase, told, m.text);
    int status = rig_reap(&r);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), DIRTY_WORKER_BOOT_FAILED);
}

static void an_app_that_does_not_boot_is_reported(void **state) {
    (void)state;
    assert_boot_fails("return {\n  1 = 2\n}", "\"phase\":\"load\"", "under_test.lua:2:");
    assert_boot_fails("require('not.there')", "\"phase\":\"load\"",
                      "module 'not.there' not found");
    assert_boot_fails("return { new = function() error('x', 0) end }",
                      "\"phase\":\"new\"", "\"message\":\"x\"");
    assert_boot_fails("return { init = function() error({1}) end }", "\"phase\":\"init\"",
                      "error object: [1]");
    assert_boot_fails("return { init = function() error('x') end }", "\"phase\":\"init\"",
                      "\"traceback\":\"stack traceback:");
}

static void a_long_boot_failure_fits_its_message(void **state) {
    (void)state;
    assert_boot_fails("error(('\\1'):rep(100000))", "\"phase\":\"load\"", "\\u0001");
}

static void one_lane_that_fails_ends_the_worker(void **state) {
    (void)state;
    rig r;
    rig_init(&r, 3);
    start_app(&r, 3, &test_app,
              "local ffi = require('ffi')\n"
              "return { init = function()\n"
              "  if io.open(package.path:match('[^?]+')..'flag') then return end\n"
              "  io.open(package.path:match('[^?]+')..'flag', 'w'):close()\n"
              "  error('first one fails') end }");
    int status = rig_reap(&r);
    char flag[128];
    snprintf(flag, sizeof flag, "%s/flag", apps.dir);
    unlink(flag);
    assert_int_equal(WEXITSTATUS(status), DIRTY_WORKER_BOOT_FAILED);
}

static void apps_come_in_their_forms(void **state) {
    (void)state;
    rig r;
    start_app(&r, 1, &test_app,
              "local App = {}\n"
              "function App:new(o) return setmetatable({n = 10}, {__index = App}) end\n"
              "function App:init() self.n = self.n + 1 end\n"
              "function App:call(action, x) return action .. self.n .. x end\n"
              "return App");
    rig_expect_ready(&r);
    rig_frame f = call(&r, 0, "anything", "5");
    assert_memory_equal(f.payload,
                        "\0\1b\0\0\0\x0b"
                        "anything115",
                        18);
    free(f.payload);
    rig_stop(&r);
}

static void a_plain_object_inherits_from_its_app(void **state) {
    (void)state;
    rig r;
    static const dirty_app_spec spec = {
        .name = "m", .module = "under_test", .object = "Model"};
    start_app(&r, 1, &spec,
              "local Model = { base = 4 }\n"
              "function Model:init(o) self.mine = next(o) == nil end\n"
              "function Model:sum(x) return self.base + x, rawget(Model, 'mine') end\n"
              "return { Model = Model }");
    rig_expect_ready(&r);
    rig_frame f = call(&r, 0, "sum", "3");
    assert_memory_equal(f.payload, "\0\2j\0\0\0\0017j\0\0\0\4null", 17);
    free(f.payload);
    rig_stop(&r);
}

/* -- Lanes ------------------------------------------------------------------------- */

static void lanes_run_at_the_same_time(void **state) {
    (void)state;
    enum { LANES = 4 };
    rig r;
    rig_init(&r, LANES);
    rig_add_app(&r, &echo_app);
    rig_start(&r);
    rig_expect_ready(&r);
    rig_caller c[LANES];
    uint64_t began = dirty_now_ns();
    for (uint32_t i = 0; i < LANES; i++) {
        dirty_buf frame = {0}, v = {0};
        c[i] = rig_connect();
        rig_json(&v, "1000");
        rig_request(&frame, "sleep", 1, &v);
        rig_dispatch(&r, i, &c[i], &frame);
        dirty_buf_deinit(&frame);
        dirty_buf_deinit(&v);
    }
    for (uint32_t i = 0; i < LANES; i++) {
        rig_frame f = rig_answer(&c[i]);
        assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
        free(f.payload);
        rig_disconnect(&c[i]);
        assert_int_not_equal(atomic_load(&r.pages[i]->tid), 0);
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(atomic_load(&r.pages[i]->tid),
                                 atomic_load(&r.pages[k]->tid));
    }
    assert_true(dirty_now_ns() - began < LANES * 1000 * DIRTY_NS_PER_MS);
    rig_stop(&r);
}

static void each_lane_has_its_own_state(void **state) {
    (void)state;
    rig r;
    start_app(&r, 2, &test_app,
              "local n = 0\n"
              "return { add = function(_, x) n = n + x return n end }");
    rig_expect_ready(&r);
    for (uint32_t lane = 0; lane < 2; lane++) {
        rig_frame f = call(&r, lane, "add", "1");
        assert_memory_equal(f.payload, "\0\1j\0\0\0\0011", 8);
        free(f.payload);
    }
    rig_stop(&r);
}

static void lanes_use_json_at_the_same_time(void **state) {
    (void)state;
    enum { LANES = 4, ROUNDS = 200 };
    rig r;
    rig_init(&r, LANES);
    rig_add_app(&r, &echo_app);
    rig_start(&r);
    rig_expect_ready(&r);
    dirty_buf frame = {0}, v = {0};
    rig_json(&v, "{\"k\":[1,{\"n\":[true,false,null,\"text\"]}]}");
    rig_request(&frame, "echo", 1, &v);
    for (int round = 0; round < ROUNDS; round++) {
        rig_caller c[LANES];
        for (uint32_t i = 0; i < LANES; i++) {
            c[i] = rig_connect();
            rig_dispatch(&r, i, &c[i], &frame);
        }
        for (uint32_t i = 0; i < LANES; i++) {
            rig_frame f = rig_answer(&c[i]);
            assert_int_equal(f.head.payload_len, v.len + 2);
            assert_memory_equal(f.payload + 2, v.base, v.len);
            free(f.payload);
            dirty_msg_done done;
            assert_int_equal(rig_message(&r, i, &done, sizeof done), sizeof done);
            rig_disconnect(&c[i]);
        }
    }
    dirty_buf_deinit(&frame);
    dirty_buf_deinit(&v);
    rig_stop(&r);
}

/* -- Log --------------------------------------------------------------------------- */

/* Start a worker of spec/apps/trouble.lua whose log goes to a file of `apps`. */
static const char *start_logged(rig *r, uint32_t number) {
    static const dirty_app_spec trouble = {.name = "trouble",
                                           .module = "spec.apps.trouble"};
    static char path[128];
    snprintf(path, sizeof path, "%s/log", apps.dir);
    rig_init(r, 1);
    r->start.number = number;
    r->log = path;
    rig_add_app(r, &trouble);
    rig_start(r);
    rig_expect_ready(r);
    return path;
}

static void assert_logged(const char *path, const char *what) {
    static char text[8192];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    if (strstr(text, what) == NULL)
        fail_msg("not found: %s\nin: %s", what, text);
}

static void what_apps_log_is_tagged(void **state) {
    (void)state;
    rig r;
    const char *path = start_logged(&r, 3);
    free(call(&r, 0, "log", "1").payload);
    rig_stop(&r);
    assert_logged(path, "level=warn who=worker:3 pid=");
    assert_logged(path, "msg=\"from the app\" app=\"trouble\" n=1 text=\"two words\"\n");
    assert_logged(path, "msg=\"close failed\" app=\"trouble\"");
    unlink(path);
}

static void a_new_global_is_told_once(void **state) {
    (void)state;
    rig r;
    const char *path = start_logged(&r, 3);
    for (int i = 0; i < 2; i++) {
        rig_frame f = call(&r, 0, "set_global", "1");
        assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
        free(f.payload);
    }
    rig_stop(&r);
    assert_logged(path, "msg=\"a global variable was created after load: is a 'local' "
                        "missing?\" app=\"trouble\" name=a_new_global "
                        "where=./spec/apps/trouble.lua:");
    FILE *f = fopen(path, "r");
    char line[1024];
    int told = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        told += strstr(line, "a_new_global") != NULL;
    fclose(f);
    assert_int_equal(told, 1);
    unlink(path);
}

/* -- Hooks and ends ---------------------------------------------------------------- */

static void mark_hook(void *ctx, const dirty_worker_start *start) {
    char c = (char)('0' + start->number);
    ssize_t n = write(*(int *)ctx, &c, 1);
    (void)n;
}

static void the_hook_runs_before_ready(void **state) {
    (void)state;
    for (uint32_t lanes = 1; lanes <= 2; lanes++) {
        rig r;
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        rig_init(&r, lanes);
        rig_add_app(&r, &echo_app);
        r.start.hook_ctx = &ends[1];
        r.start.worker_init = mark_hook;
        rig_start(&r);
        rig_expect_ready(&r);
        char said[8];
        close(ends[1]);
        assert_int_equal(read(ends[0], said, sizeof said), 1);
        assert_int_equal(said[0], '3');
        close(ends[0]);
        rig_stop(&r);
    }
}

static void the_end_of_the_channel_ends_the_worker(void **state) {
    (void)state;
    for (uint32_t lanes = 1; lanes <= 2; lanes++) {
        rig r;
        rig_init(&r, lanes);
        rig_add_app(&r, &echo_app);
        rig_start(&r);
        rig_expect_ready(&r);
        for (uint32_t i = 0; i < lanes; i++)
            shutdown(r.channels[i], SHUT_RDWR);
        int status = rig_reap(&r);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), DIRTY_WORKER_STOPPED);
    }
}

/* A lane that can't go on, and ends before it is told to. */
static void a_lane_that_breaks_is_told_by_the_workers_status(void **state) {
    (void)state;
    for (uint32_t lanes = 1; lanes <= 2; lanes++) {
        rig r;
        rig_init(&r, lanes);
        rig_add_app(&r, &echo_app);
        rig_start(&r);
        rig_expect_ready(&r);
        assert_int_equal(send(r.channels[0], "garbage", 7, MSG_NOSIGNAL), 7);
        for (uint32_t i = 1; i < lanes; i++)
            shutdown(r.channels[i], SHUT_RDWR);
        int status = rig_reap(&r);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), DIRTY_WORKER_BROKEN);
    }
}

static void every_lane_closes_its_apps(void **state) {
    (void)state;
    rig r;
    char path[128];
    static const dirty_app_spec spec = {.name = "closes", .module = "closes"};
    snprintf(path, sizeof path, "%s/closed", apps.dir);
    rig_apps_write(
        &apps, "closes",
        "return { close = function()\n"
        "  local f = io.open(package.path:match('^(.-)/%?') .. '/closed', 'a')\n"
        "  f:write('closed\\n') f:close() end }");
    rig_init(&r, 2);
    r.start.lua_path = apps.path;
    rig_add_app(&r, &spec);
    rig_start(&r);
    rig_expect_ready(&r);
    rig_stop(&r);
    char text[64] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t len = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    unlink(path);
    text[len] = '\0';
    assert_string_equal(text, "closed\nclosed\n");
}

static void apps_are_closed_the_last_first(void **state) {
    (void)state;
    rig r;
    static const dirty_app_spec one = {.name = "one", .module = "one"};
    static const dirty_app_spec two = {.name = "two", .module = "two"};
    static const char text[] =
        "local name = ...\n"
        "return { close = function(self)\n"
        "  local f = io.open(package.path:match('[^?]+')..'log', 'a')\n"
        "  f:write(name) f:close() error('does not matter') end }";
    rig_apps_write(&apps, "one", text);
    rig_apps_write(&apps, "two", text);
    rig_init(&r, 1);
    r.start.lua_path = apps.path;
    rig_add_app(&r, &one);
    rig_add_app(&r, &two);
    rig_start(&r);
    rig_expect_ready(&r);
    rig_stop(&r);
    char path[128], said[16] = "";
    snprintf(path, sizeof path, "%s/log", apps.dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(said, sizeof said, f));
    fclose(f);
    unlink(path);
    assert_string_equal(said, "twoone");
}

static void signals_of_the_terminal_are_ignored(void **state) {
    (void)state;
    rig r;
    rig_init(&r, 1);
    rig_add_app(&r, &echo_app);
    rig_start(&r);
    rig_expect_ready(&r);
    static const int signals[] = {SIGINT,  SIGHUP,  SIGQUIT, SIGPIPE,
                                  SIGTSTP, SIGUSR1, SIGTTOU, SIGWINCH};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        assert_int_equal(kill(r.pid, signals[i]), 0);
    rig_frame f = call(&r, 0, "echo", "1");
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    free(f.payload);
    rig_stop(&r);
}

static void an_orphan_does_not_start(void **state) {
    (void)state;
    rig r;
    rig_init(&r, 1);
    rig_add_app(&r, &echo_app);
    r.foreign_parent = true;
    rig_start(&r);
    int status = rig_reap(&r);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), DIRTY_WORKER_ORPHANED);
}

static void a_crash_is_a_signal(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* the sanitizer takes the signal */
#endif
    rig r;
    rig_init(&r, 1);
    rig_add_app(&r, &echo_app);
    rig_start(&r);
    rig_expect_ready(&r);
    rig_caller c = rig_connect();
    dirty_buf frame = {0};
    rig_request(&frame, "crash", 0, NULL);
    rig_dispatch(&r, 0, &c, &frame);
    int status = rig_reap(&r);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    dirty_buf_deinit(&frame);
    rig_disconnect(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_app_that_does_not_boot_is_reported),
        cmocka_unit_test(a_long_boot_failure_fits_its_message),
        cmocka_unit_test(one_lane_that_fails_ends_the_worker),
        cmocka_unit_test(apps_come_in_their_forms),
        cmocka_unit_test(a_plain_object_inherits_from_its_app),
        cmocka_unit_test(lanes_run_at_the_same_time),
        cmocka_unit_test(each_lane_has_its_own_state),
        cmocka_unit_test(lanes_use_json_at_the_same_time),
        cmocka_unit_test(what_apps_log_is_tagged),
        cmocka_unit_test(a_new_global_is_told_once),
        cmocka_unit_test(the_hook_runs_before_ready),
        cmocka_unit_test(the_end_of_the_channel_ends_the_worker),
        cmocka_unit_test(a_lane_that_breaks_is_told_by_the_workers_status),
        cmocka_unit_test(every_lane_closes_its_apps),
        cmocka_unit_test(apps_are_closed_the_last_first),
        cmocka_unit_test(signals_of_the_terminal_are_ignored),
        cmocka_unit_test(an_orphan_does_not_start),
        cmocka_unit_test(a_crash_is_a_signal),
    };
    return cmocka_run_group_tests(tests, open_apps, close_apps);
}
