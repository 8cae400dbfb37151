/* The lane: requests, answers, the baton, and everything a caller or the arbiter can do
 * to it. */
#include "lane_rig.h"

static const dirty_app_spec echo_app = {.name = "apps.echo", .module = "apps.echo"};

static int start_echo(void **state) {
    rig *r = calloc(1, sizeof *r);
    rig_init(r, 1);
    rig_add_app(r, &echo_app);
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

/* Send a request, get the one frame of its answer and a good DONE. */
static rig_frame call(rig *r, const char *action, uint16_t argc,
                      const dirty_buf *values) {
    rig_caller c = rig_connect();
    dirty_buf frame = {0};
    rig_request(&frame, action, argc, values);
    rig_dispatch(r, 0, &c, &frame);
    rig_frame answer = rig_answer(&c);
    dirty_msg_done done = rig_done(r, 0);
    assert_int_equal(done.dropped, 0);
    assert_int_equal(dirty_baton_read(r->pages[0], r->seq), DIRTY_BATON_ANSWERED);
    assert_int_equal(answer.head.id, 77);
    dirty_buf_deinit(&frame);
    rig_disconnect(&c);
    return answer;
}

static void noop_answers_nil(void **state) {
    rig_frame f = call(*state, "noop", 0, NULL);
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    assert_memory_equal(f.payload, "\0\1j\0\0\0\4null", 11);
    free(f.payload);
}

static void echo_returns_every_kind_of_value(void **state) {
    dirty_buf v = {0};
    rig_bytes(&v, "a\0b", 3);
    rig_json(&v, "null");
    rig_json(&v, "true");
    rig_json(&v, "-12.5");
    rig_json(&v, "{\"k\":[1,null]}");
    rig_json(&v, "9007199254740991");
    rig_bytes(&v, "", 0);
    rig_frame f = call(*state, "echo", 7, &v);
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    assert_int_equal(f.head.payload_len, v.len + 2);
    assert_memory_equal(f.payload, "\0\7", 2);
    assert_memory_equal(f.payload + 2, v.base, v.len);
    free(f.payload);
    dirty_buf_deinit(&v);
}

static void an_error_is_told(void **state) {
    dirty_buf v = {0};
    rig_bytes(&v, "out of luck", 11);
    rig_frame f = call(*state, "fail", 1, &v);
    dirty_error e;
    assert_int_equal(f.head.type, DIRTY_FRAME_ERROR);
    assert_int_equal(dirty_error_decode(f.payload, f.head.payload_len, &e), 0);
    printf("%.*s\n%.*s\n", (int)e.message.len, e.message.base, (int)e.details.len,
           e.details.base);
    assert_int_equal(e.code, DIRTY_CODE_APP);
    free(f.payload);
    dirty_buf_deinit(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noop_answers_nil),
        cmocka_unit_test(echo_returns_every_kind_of_value),
        cmocka_unit_test(an_error_is_told),
    };
    return cmocka_run_group_tests(tests, start_echo, stop_rig);
}
