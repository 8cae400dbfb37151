/* The lane: calls, values, errors, streams and what an app can ask of its request. */
#include "lane_rig.h"

static const dirty_app_spec echo_app = {.name = "apps.echo", .module = "apps.echo"};
static const dirty_app_spec trouble_app = {
    .name = "trouble", .module = "spec.apps.trouble", .options = "{\"who\":\"tests\"}"};

enum { ECHO, TROUBLE };

static int start_rig(void **state) {
    rig *r = calloc(1, sizeof *r);
    rig_init(r, 1);
    rig_add_app(r, &echo_app);
    rig_add_app(r, &trouble_app);
    rig_start(r);
    rig_expect_ready(r);
    *state = r;
    return 0;
}

static int stop_rig(void **state) {
    rig *r = *state;
    rig_stop(r);
    free(r);
    return 0;
}

/* -- Calls and what is expected of them -------------------------------------------- */

/* Send a request, get the one frame of its answer and a good DONE. */
static rig_frame call(rig *r, uint32_t app, const char *action, const dirty_buf *values,
                      uint16_t argc) {
    rig_caller c = rig_connect();
    dirty_buf frame = {0};
    r->app = app;
    rig_request(&frame, action, argc, values);
    rig_dispatch(r, 0, &c, &frame);
    rig_frame answer = rig_answer(&c);
    dirty_msg_done done = rig_done(r, 0);
    assert_int_equal(done.dropped, 0);
    assert_int_equal(done.outcome == 0, answer.head.type == DIRTY_FRAME_RESPONSE);
    assert_int_equal(done.connection == DIRTY_CONNECTION_DRAIN,
                     done.outcome == DIRTY_CODE_PROTOCOL);
    assert_int_equal(dirty_baton_load(r->pages[0]),
                     dirty_baton_word(r->seq, DIRTY_BATON_FREE));
    assert_int_equal(answer.head.id, RIG_ID);
    dirty_buf_deinit(&frame);
    rig_disconnect(&c);
    return answer;
}

/* Call with one argument of JSON text, or with none for NULL. */
static rig_frame call_json(rig *r, uint32_t app, const char *action, const char *json) {
    dirty_buf v = {0};
    if (json != NULL)
        rig_json(&v, json);
    rig_frame f = call(r, app, action, &v, json != NULL);
    dirty_buf_deinit(&v);
    return f;
}

/* The answer is a RESPONSE of exactly these values: tag and text of each, as
 * "j1" "btext", ended by NULL. */
static void assert_values(rig_frame f, const char *const *expected) {
    dirty_value_reader values;
    dirty_value v;
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    assert_int_equal(dirty_values_open(f.payload, f.head.payload_len, 255, &values), 0);
    for (; *expected != NULL; expected++) {
        assert_true(values.left > 0);
        assert_int_equal(dirty_value_next(&values, &v), 0);
        char text[256];
        snprintf(text, sizeof text, "%c%.*s", v.tag, (int)v.bytes.len, v.bytes.base);
        assert_string_equal(text, *expected);
    }
    assert_int_equal(dirty_value_reader_end(&values), 0);
    free(f.payload);
}

#define ASSERT_VALUES(frame, ...) \
    assert_values((frame), (const char *const[]){__VA_ARGS__, NULL})

/* The answer is an ERROR of that code, with these texts in message and details. */
static void assert_error(rig_frame f, dirty_code code, const char *message,
                         const char *details) {
    dirty_error e;
    assert_int_equal(f.head.type, DIRTY_FRAME_ERROR);
    assert_int_equal(dirty_error_decode(f.payload, f.head.payload_len, &e), 0);
    char *m = strndup(e.message.base, e.message.len);
    char *d = strndup(e.details.base, e.details.len);
    assert_non_null(m);
    assert_non_null(d);
    if (e.code != code || strstr(m, message) == NULL || strstr(d, details) == NULL)
        fail_msg("expected %s with '%s' and '%s'\ngot %s: %.900s\n%.900s",
                 dirty_code_name(code), message, details, dirty_code_name(e.code), m, d);
    free(m);
    free(d);
    free(f.payload);
}

/* -- Values ------------------------------------------------------------------------ */

static void noop_answers_nil(void **state) {
    ASSERT_VALUES(call_json(*state, ECHO, "noop", NULL), "jnull");
}

static void echo_returns_every_kind_of_value(void **state) {
    dirty_buf v = {0};
    rig_bytes(&v, "a\0b", 3);
    rig_json(&v, "null");
    rig_json(&v, "true");
    rig_json(&v, "false");
    rig_json(&v, "-12.5");
    rig_json(&v, "{\"k\":[1,null]}");
    rig_json(&v, "9007199254740991");
    rig_json(&v, "-7");
    rig_bytes(&v, "", 0);
    rig_json(&v, "null");
    rig_frame f = call(*state, ECHO, "echo", &v, 10);
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    assert_int_equal(f.head.payload_len, v.len + 2);
    assert_memory_equal(f.payload, "\0\x0a", 2);
    assert_memory_equal(f.payload + 2, v.base, v.len);
    free(f.payload);
    dirty_buf_deinit(&v);
}

static void json_of_any_spelling_is_read(void **state) {
    static const struct {
        const char *sent, *expected;
    } spellings[] = {
        {" null ", "jnull"},   {" 12", "j12"},
        {"1e3", "j1000"},      {"-0", "j-0"},
        {"0", "j0"},           {"1.50", "j1.5"},
        {"\"text\"", "btext"}, {"\"\\u00e9\"", "b\xc3\xa9"},
        {"[]", "j{}"},         {"9007199254740992", "j9007199254740992"},
    };
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
        ASSERT_VALUES(call_json(*state, ECHO, "echo", spellings[i].sent),
                      spellings[i].expected);
}

static void numbers_are_exact_and_short(void **state) {
    ASSERT_VALUES(call_json(*state, TROUBLE, "numbers", NULL), "j0", "j-0", "j1", "j-1",
                  "j0.1", "j1000000000000000", "j9007199254740992", "j9007199254740994",
                  "j1e+300", "j-2.5e-10");
}

static void nulls_and_empty_tables_are_defined(void **state) {
    ASSERT_VALUES(call_json(*state, TROUBLE, "nulls", NULL), "jnull", "j[null]", "j{}",
                  "j[{}]");
}

static void no_result_is_no_value(void **state) {
    rig_frame f = call_json(*state, TROUBLE, "nothing", NULL);
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    assert_int_equal(f.head.payload_len, 2);
    assert_memory_equal(f.payload, "\0\0", 2);
    free(f.payload);
}

static void state_stays_warm(void **state) {
    ASSERT_VALUES(call_json(*state, TROUBLE, "warm", NULL), "j1");
    ASSERT_VALUES(call_json(*state, TROUBLE, "warm", NULL), "j2");
    ASSERT_VALUES(call_json(*state, TROUBLE, "own_call", NULL), "j3");
}

static void options_reach_init(void **state) {
    ASSERT_VALUES(call_json(*state, TROUBLE, "option", "\"who\""), "btests");
}

static void a_result_that_cannot_be_sent_is_named(void **state) {
    static const struct {
        const char *name, *told;
    } results[] = {
        {"\"function inside\"", "result 2: .rows[3].fn is a function"},
        {"\"odd key\"", "result 2: [\"a b\"][1] is a thread"},
        {"\"nan\"", "result 2 is nan, which JSON can't express"},
        {"\"inf inside\"", "result 2: .x is inf"},
        {"\"cycle\"", "result 2: .me contains itself"},
        {"\"deep\"", "is nested deeper than max_depth (1000)"},
        {"\"sparse\"", "result 2 is a sparse array: 2 elements, highest index 100"},
        {"\"bad key\"", "result 2 has a key that is a boolean"},
        {"\"cdata\"", "result 2 is a cdata (5LL)"},
        {"\"thread\"", "result 2 is a thread"},
        {"\"userdata\"", "result 2 is a userdata"},
    };
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        assert_error(call_json(*state, TROUBLE, "result", results[i].name),
                     DIRTY_CODE_APP, results[i].told, "\"started\":\"yes\"");
}

static void limits_of_results_are_kept(void **state) {
    (void)state;
    rig r;
    rig_init(&r, 1);
    rig_add_app(&r, &trouble_app);
    r.start.limits.max_message = 1 << 20;
    rig_start(&r);
    rig_expect_ready(&r);
    assert_error(call_json(&r, 0, "many", "256"), DIRTY_CODE_APP,
                 "256 results are more than max_args (255) allows", "");
    assert_error(call_json(&r, 0, "bytes", "1048572"), DIRTY_CODE_APP,
                 "a result of 1048579 bytes is more than max_message (1048576) allows",
                 "");
    rig_frame f = call_json(&r, 0, "many", "255");
    assert_int_equal(f.head.payload_len, 2 + 255 * 9);
    free(f.payload);
    f = call_json(&r, 0, "bytes", "1048569");
    assert_int_equal(f.head.payload_len, 1 << 20);
    free(f.payload);
    rig_stop(&r);
}

static void a_large_table_is_sent(void **state) {
    rig_frame f = call_json(*state, TROUBLE, "rows", "100000");
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    assert_true(f.head.payload_len > 1200000);
    free(f.payload);
    ASSERT_VALUES(call_json(*state, TROUBLE, "rows", "1"), "j[{\"id\":1}]");
}

/* -- Errors ------------------------------------------------------------------------ */

static void what_an_app_raises_is_told(void **state) {
    static const struct {
        const char *name, *message, *details;
    } errors[] = {
        {"\"a table\"", "error object: {", "\"error\":{"},
        {"\"a message\"", "told by its field", "\"error\":{\"message\":"},
        {"\"tostring\"", "told by itself", "\"error\":{}"},
        {"\"bad tostring\"", "error object: {}", "\"error\":{}"},
        {"\"no json\"", "error object: a table that is not JSON", "\"app\":\"trouble\""},
        {"\"true\"", "true", "\"error\":true"},
        {"\"number\"", "trouble.lua:", "traceback"},
        {"\"nothing\"", "nil", "\"error\":null"},
        {"\"function\"", "function: builtin", "traceback"},
        {"\"cdata\"", "5LL", "traceback"},
    };
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        rig_frame f = call_json(*state, TROUBLE, "raise", errors[i].name);
        assert_error(f, DIRTY_CODE_APP, errors[i].message, errors[i].details);
    }
}

static void an_error_comes_with_its_place(void **state) {
    rig_frame f = call_json(*state, ECHO, "fail", "\"out of luck\"");
    assert_error(f, DIRTY_CODE_APP,
                 "apps/echo.lua:", "\"traceback\":\"stack traceback:\\n");
    f = call_json(*state, ECHO, "fail", "\"out of luck\"");
    assert_error(f, DIRTY_CODE_APP, "out of luck",
                 "{\"app\":\"apps.echo\",\"action\":\"fail\",\"started\":\"yes\","
                 "\"elapsed_ms\":");
}

static void nil_and_err_is_an_error(void **state) {
    assert_error(call_json(*state, TROUBLE, "nil_err", "\"not today\""), DIRTY_CODE_APP,
                 "not today", "\"started\":\"yes\"");
    assert_error(call_json(*state, TROUBLE, "nil_err", "{\"code\":9}"), DIRTY_CODE_APP,
                 "error object: {\"code\":9}", "\"error\":{\"code\":9}");
    ASSERT_VALUES(call_json(*state, TROUBLE, "nil_err", NULL), "jnull");
    ASSERT_VALUES(call_json(*state, TROUBLE, "nil_err", "null"), "jnull", "jnull");
}

static void a_stack_overflow_is_an_error(void **state) {
    assert_error(call_json(*state, TROUBLE, "overflow", NULL), DIRTY_CODE_APP,
                 "stack overflow", "");
    ASSERT_VALUES(call_json(*state, ECHO, "echo", "1"), "j1");
}

static void a_long_message_is_cut(void **state) {
    rig_frame f = call_json(*state, TROUBLE, "long_error", "200000");
    assert_true(f.head.payload_len < 70000);
    assert_error(f, DIRTY_CODE_APP, "xxx ... (134528 bytes more)", "");
}

static void unknown_actions_are_told_with_the_nearest(void **state) {
    assert_error(call_json(*state, ECHO, "lenght", NULL), DIRTY_CODE_ACTION_NOT_FOUND,
                 "app 'apps.echo' has no action 'lenght' (did you mean 'length'?)",
                 "\"started\":\"no\"");
    assert_error(call_json(*state, ECHO, "lenght", NULL), DIRTY_CODE_ACTION_NOT_FOUND, "",
                 "\"nearest\":\"length\"");
    assert_error(call_json(*state, TROUBLE, "not_a_function", NULL),
                 DIRTY_CODE_ACTION_NOT_FOUND, "no action 'not_a_function'", "");
}

static void hidden_names_are_not_actions(void **state) {
    static const char *const names[] = {"_",     "_2",     "_33",     "_444",
                                        "_5555", "_66666", "_777777", "_private",
                                        "init",  "close",  "new",     "call"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_error(call_json(*state, TROUBLE, names[i], NULL),
                     DIRTY_CODE_ACTION_NOT_FOUND, "is not an action", "");
    assert_error(call_json(*state, TROUBLE, "own_call_private", NULL),
                 DIRTY_CODE_ACTION_NOT_FOUND, "is not an action", "\"started\":\"no\"");
}

static void memory_that_runs_out_is_an_error(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* its shadow needs more address space than any limit leaves */
#endif
    rig r;
    rig_init(&r, 1);
    rig_add_app(&r, &trouble_app);
    r.memory_max = 1u << 28;
    rig_start(&r);
    rig_expect_ready(&r);
    assert_error(call_json(&r, 0, "memory", NULL), DIRTY_CODE_MEMORY, "not enough memory",
                 "");
    ASSERT_VALUES(call_json(&r, 0, "warm", NULL), "j1");
    rig_stop(&r);
}

/* -- Arguments --------------------------------------------------------------------- */

static void bad_arguments_are_named(void **state) {
    dirty_buf v = {0};
    rig_json(&v, "1");
    rig_json(&v, "{\"a\":}");
    assert_error(call(*state, ECHO, "echo", &v, 2), DIRTY_CODE_PROTOCOL,
                 "argument 2 is not JSON: Expected value", "\"started\":\"no\"");
    v.len = 0;
    rig_json(&v, "nan");
    assert_error(call(*state, ECHO, "echo", &v, 1), DIRTY_CODE_PROTOCOL,
                 "argument 1 is not JSON", "");
    v.len = 0;
    rig_json(&v, "");
    assert_error(call(*state, ECHO, "echo", &v, 1), DIRTY_CODE_PROTOCOL,
                 "argument 1 is not JSON", "");
    v.len = 0;
    rig_json(&v, "1");
    dirty_value_append(&v, (dirty_value_tag)'m', "x", 1);
    assert_error(call(*state, ECHO, "echo", &v, 2), DIRTY_CODE_PROTOCOL,
                 "argument 2: wrong value tag", "");
    v.len = 0;
    rig_json(&v, "1");
    assert_error(call(*state, ECHO, "echo", &v, 2), DIRTY_CODE_PROTOCOL,
                 "argument 2: ", "");
    assert_error(call(*state, ECHO, "echo", &v, 0), DIRTY_CODE_PROTOCOL,
                 "the count of values does not match", "");
    assert_error(call(*state, ECHO, "echo", &v, 256), DIRTY_CODE_PROTOCOL,
                 "more values than max_args", "");
    dirty_buf_deinit(&v);
}

static void deep_json_is_refused(void **state) {
    char deep[20001];
    memset(deep, '[', 10000);
    memset(deep + 10000, ']', 10000);
    deep[20000] = '\0';
    assert_error(call_json(*state, ECHO, "echo", deep), DIRTY_CODE_PROTOCOL,
                 "argument 1 is not JSON: Found too many nested", "");
    deep[1000] = '\0';
    memset(deep + 500, ']', 500);
    rig_frame f = call_json(*state, ECHO, "noop", deep);
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    free(f.payload);
}

static void broken_json_is_refused_wherever_it_breaks(void **state) {
    static const char whole[] = "{\"k\":[1,-2.5e3,true,null,\"\\u00e9\\n\"]}";
    char part[sizeof whole];
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        memcpy(part, whole, len);
        part[len] = '\0';
        rig_frame f = call_json(*state, ECHO, "echo", part);
        assert_error(f, DIRTY_CODE_PROTOCOL, "argument 1 is not JSON", "");
    }
}

/* -- Streams ----------------------------------------------------------------------- */

/* Start a call that streams. */
static rig_caller start_stream(rig *r, const char *action, const char *json) {
    rig_caller c = rig_connect();
    dirty_buf frame = {0}, v = {0};
    rig_json(&v, json);
    r->app = TROUBLE;
    rig_request(&frame, action, 1, &v);
    rig_dispatch(r, 0, &c, &frame);
    dirty_buf_deinit(&frame);
    dirty_buf_deinit(&v);
    return c;
}

static void assert_chunk(rig_caller *c, const char *payload, size_t len) {
    rig_frame f = rig_answer(c);
    assert_int_equal(f.head.type, DIRTY_FRAME_CHUNK);
    assert_int_equal(f.head.id, RIG_ID);
    assert_int_equal(f.head.payload_len, len);
    assert_memory_equal(f.payload, payload, len);
    free(f.payload);
}

static void assert_end(rig *r, rig_caller *c) {
    rig_frame f = rig_answer(c);
    assert_int_equal(f.head.type, DIRTY_FRAME_END);
    assert_int_equal(f.head.payload_len, 0);
    free(f.payload);
    dirty_msg_done done = rig_done(r, 0);
    assert_int_equal(done.outcome, 0);
    assert_int_equal(done.connection, DIRTY_CONNECTION_KEEP);
    assert_int_equal(dirty_baton_load(r->pages[0]),
                     dirty_baton_word(r->seq, DIRTY_BATON_FREE));
    rig_disconnect(c);
}

static void a_generator_streams(void **state) {
    rig_caller c = start_stream(*state, "generator", "2");
    assert_chunk(&c, "\0\2b\0\0\0\4itemj\0\0\0\0011", 17);
    assert_chunk(&c, "\0\2b\0\0\0\4itemj\0\0\0\0012", 17);
    assert_end(*state, &c);
}

static void an_iterator_with_state_streams(void **state) {
    rig_caller c = start_stream(*state, "pairs_of", "[true,false]");
    assert_chunk(&c, "\0\2j\0\0\0\0011j\0\0\0\4true", 17);
    assert_chunk(&c, "\0\2j\0\0\0\0012j\0\0\0\5false", 18);
    assert_end(*state, &c);
}

static void an_empty_stream_is_an_end(void **state) {
    rig_caller c = start_stream(*state, "generator", "0");
    assert_end(*state, &c);
}

static void a_stream_that_fails_ends_in_an_error(void **state) {
    static const struct {
        const char *kind, *message;
    } kinds[] = {{"\"raise\"", "the third chunk"},
                 {"\"nil\"", "no third chunk"},
                 {"\"bad\"", "result 1 is a function"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        rig_caller c = start_stream(*state, "stream_error", kinds[i].kind);
        assert_chunk(&c, "\0\1j\0\0\0\0011", 8);
        assert_chunk(&c, "\0\1j\0\0\0\0012", 8);
        assert_error(rig_answer(&c), DIRTY_CODE_APP, kinds[i].message, "");
        assert_int_equal(rig_done(*state, 0).outcome, DIRTY_CODE_APP);
        rig_disconnect(&c);
    }
}

static void a_stream_ends_when_the_caller_leaves(void **state) {
    rig_caller c = start_stream(*state, "endless", "3");
    assert_chunk(&c, "\0\1b\0\0\0\3ccc", 10);
    rig_disconnect(&c);
    dirty_msg_done done = rig_done(*state, 0);
    assert_int_equal(done.connection, DIRTY_CONNECTION_LOST);
    assert_int_equal(done.outcome, DIRTY_CODE_CONNECTION);
}

/* -- What an app can ask ----------------------------------------------------------- */

/* Dispatch to `trouble` with metadata and a deadline that far away, 0: none. */
static rig_frame call_with(rig *r, const char *action, const char *metadata,
                           uint32_t deadline_ms) {
    rig_caller c = rig_connect();
    dirty_buf frame = {0}, v = {0};
    r->app = TROUBLE;
    if (metadata != NULL)
        rig_json(&v, metadata);
    rig_request_flags(&frame, action, 0, &v, metadata ? DIRTY_FLAG_METADATA : 0);
    dirty_msg_dispatch head = rig_head(r, 0, frame.len, frame.len);
    head.deadline_ns = deadline_ms ? dirty_now_ns() + deadline_ms * DIRTY_NS_PER_MS : 0;
    rig_send(r, 0, &head, frame.base, c.held);
    rig_frame f = rig_answer(&c);
    rig_done(r, 0);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    dirty_buf_deinit(&v);
    return f;
}

static void assert_says(rig_frame f, const char *what) {
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    if (strstr((char *)f.payload + 7, what) == NULL)
        fail_msg("not found: %s\nin: %s", what, (char *)f.payload + 7);
    free(f.payload);
}

static void the_request_is_known(void **state) {
    static const char *const parts[] = {
        "\"id\":77",        "\"app\":\"trouble\"",   "\"action\":\"request\"",
        "\"trace\":\"t1\"", "\"has_deadline\":true", "\"in_future\":true"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_says(call_with(*state, "request", "{\"trace\":\"t1\"}", 20000), parts[i]);
    char pid[32];
    snprintf(pid, sizeof pid, "\"pid\":%d", (int)getpid());
    assert_says(call_with(*state, "request", NULL, 20000), pid);
}

static void metadata_does_not_outlive_its_request(void **state) {
    assert_says(call_with(*state, "request", "{\"trace\":\"t1\"}", 20000), "t1");
    rig_frame f = call_with(*state, "request", NULL, 20000);
    assert_null(strstr((char *)f.payload + 7, "metadata"));
    free(f.payload);
}

/* A number that Lua can't hold is JSON: that is of the one request, not of the next. */
static void what_is_wrong_with_an_argument_is_told_anew(void **state) {
    for (int i = 0; i < 2; i++) {
        assert_error(call_json(*state, ECHO, "echo", "1e999"), DIRTY_CODE_PROTOCOL,
                     "argument 1: ", "\"started\":\"no\"");
        assert_error(call_json(*state, ECHO, "echo", "{"), DIRTY_CODE_PROTOCOL,
                     "argument 1 is not JSON: ", "\"started\":\"no\"");
    }
}

static void bad_metadata_is_refused(void **state) {
    assert_error(call_with(*state, "request", "{", 20000), DIRTY_CODE_PROTOCOL,
                 "the metadata is not JSON: Expected", "\"started\":\"no\"");
}

static void the_request_is_read_only(void **state) {
    assert_error(call_json(*state, TROUBLE, "bad_field", NULL), DIRTY_CODE_APP,
                 "dirty.request has no field 'no_such_field'", "");
    assert_error(call_json(*state, TROUBLE, "write_field", NULL), DIRTY_CODE_APP,
                 "dirty.request is read-only", "");
}

static void check_raises_when_it_is_late(void **state) {
    assert_error(call_with(*state, "until_late", NULL, 50), DIRTY_CODE_TIMEOUT,
                 "the deadline passed while the request ran", "\"phase\":\"run\"");
    dirty_buf v = {0};
    rig_json(&v, "true");
    rig_caller c = rig_connect();
    dirty_buf frame = {0};
    rig *r = *state;
    rig_request(&frame, "until_late", 1, &v);
    dirty_msg_dispatch head = rig_head(r, 0, frame.len, frame.len);
    head.deadline_ns = dirty_now_ns() + 50 * DIRTY_NS_PER_MS;
    rig_send(r, 0, &head, frame.base, c.held);
    ASSERT_VALUES(rig_answer(&c), "bTIMEOUT: the deadline passed while the request ran");
    rig_done(r, 0);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    dirty_buf_deinit(&v);
}

static void check_raises_when_the_caller_has_left(void **state) {
    rig *r = *state;
    rig_caller c = rig_connect();
    dirty_buf frame = {0};
    r->app = TROUBLE;
    rig_request(&frame, "until_late", 0, NULL);
    rig_dispatch(r, 0, &c, &frame);
    rig_disconnect(&c);
    dirty_msg_done done = rig_done(r, 0);
    assert_int_equal(done.connection, DIRTY_CONNECTION_LOST);
    assert_true(done.run_ns < 20000 * DIRTY_NS_PER_MS);
    dirty_buf_deinit(&frame);
}

static void a_late_request_is_not_started(void **state) {
    rig *r = *state;
    rig_caller c = rig_connect();
    dirty_buf frame = {0};
    rig_request(&frame, "warm", 0, NULL);
    dirty_msg_dispatch head = rig_head(r, 0, frame.len, frame.len);
    head.deadline_ns = dirty_now_ns() - 1;
    rig_send(r, 0, &head, frame.base, c.held);
    assert_error(rig_answer(&c), DIRTY_CODE_TIMEOUT, "before the request could run",
                 "\"phase\":\"queue\"");
    assert_int_equal(rig_done(r, 0).connection, DIRTY_CONNECTION_KEEP);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
}

static void a_late_stream_ends_in_timeout(void **state) {
    rig *r = *state;
    rig_caller c = rig_connect();
    dirty_buf frame = {0}, v = {0};
    r->app = TROUBLE;
    rig_json(&v, "100");
    rig_request(&frame, "endless", 1, &v);
    dirty_msg_dispatch head = rig_head(r, 0, frame.len, frame.len);
    head.deadline_ns = dirty_now_ns() + 30 * DIRTY_NS_PER_MS;
    rig_send(r, 0, &head, frame.base, c.held);
    rig_frame f = rig_answer(&c);
    while (f.head.type == DIRTY_FRAME_CHUNK) {
        free(f.payload);
        f = rig_answer(&c);
    }
    assert_error(f, DIRTY_CODE_TIMEOUT, "while the request ran", "\"started\":\"yes\"");
    assert_int_equal(rig_done(r, 0).outcome, DIRTY_CODE_TIMEOUT);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    dirty_buf_deinit(&v);
}

static void the_page_tells_of_the_lane(void **state) {
    rig *r = *state;
    uint64_t served = atomic_load(&r->pages[0]->served);
    free(call_json(r, ECHO, "noop", NULL).payload);
    assert_int_equal(atomic_load(&r->pages[0]->served), served + 1);
    assert_true(atomic_load(&r->pages[0]->lua_bytes) > 10000);
    assert_int_equal(atomic_load(&r->pages[0]->tid), r->pid);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noop_answers_nil),
        cmocka_unit_test(echo_returns_every_kind_of_value),
        cmocka_unit_test(json_of_any_spelling_is_read),
        cmocka_unit_test(numbers_are_exact_and_short),
        cmocka_unit_test(nulls_and_empty_tables_are_defined),
        cmocka_unit_test(no_result_is_no_value),
        cmocka_unit_test(state_stays_warm),
        cmocka_unit_test(options_reach_init),
        cmocka_unit_test(a_result_that_cannot_be_sent_is_named),
        cmocka_unit_test(limits_of_results_are_kept),
        cmocka_unit_test(a_large_table_is_sent),
        cmocka_unit_test(what_an_app_raises_is_told),
        cmocka_unit_test(an_error_comes_with_its_place),
        cmocka_unit_test(nil_and_err_is_an_error),
        cmocka_unit_test(a_stack_overflow_is_an_error),
        cmocka_unit_test(a_long_message_is_cut),
        cmocka_unit_test(unknown_actions_are_told_with_the_nearest),
        cmocka_unit_test(hidden_names_are_not_actions),
        cmocka_unit_test(memory_that_runs_out_is_an_error),
        cmocka_unit_test(bad_arguments_are_named),
        cmocka_unit_test(deep_json_is_refused),
        cmocka_unit_test(broken_json_is_refused_wherever_it_breaks),
        cmocka_unit_test(a_generator_streams),
        cmocka_unit_test(an_iterator_with_state_streams),
        cmocka_unit_test(an_empty_stream_is_an_end),
        cmocka_unit_test(a_stream_that_fails_ends_in_an_error),
        cmocka_unit_test(a_stream_ends_when_the_caller_leaves),
        cmocka_unit_test(the_request_is_known),
        cmocka_unit_test(metadata_does_not_outlive_its_request),
        cmocka_unit_test(what_is_wrong_with_an_argument_is_told_anew),
        cmocka_unit_test(bad_metadata_is_refused),
        cmocka_unit_test(the_request_is_read_only),
        cmocka_unit_test(check_raises_when_it_is_late),
        cmocka_unit_test(check_raises_when_the_caller_has_left),
        cmocka_unit_test(a_late_request_is_not_started),
        cmocka_unit_test(a_late_stream_ends_in_timeout),
        cmocka_unit_test(the_page_tells_of_the_lane),
    };
    return cmocka_run_group_tests(tests, start_rig, stop_rig);
}
