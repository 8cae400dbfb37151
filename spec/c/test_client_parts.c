/* The parts of the client that need no server: errors, requests and their way out, and
 * reading one member of a JSON text. */
#include "harness.h"

#include "base/buf.h"
#include "base/json_peek.h"
#include "client/request.h"
#include "client/runtime_error.h"

/* -- Errors ------------------------------------------------------------------------- */

static void test_names_texts_and_statuses(void **state) {
    (void)state;
    assert_int_equal(DIRTY_ETIMEOUT, -1);
    assert_int_equal(DIRTY_EMEMORY, -13);
#define CHECK(name, number, http, started, retry, text)        \
    assert_string_equal(dirty_err_name(DIRTY_E##name), #name); \
    assert_string_equal(dirty_strerror(-(number)), text);      \
    assert_int_equal(dirty_err_http_status(DIRTY_E##name), http);
    DIRTY_ERRORS(CHECK)
#undef CHECK
    assert_string_equal(dirty_err_name(0), "OK");
    assert_int_equal(dirty_err_http_status(0), 200);
    assert_string_equal(dirty_err_name(DIRTY_EINVALID), "INVALID");
    static const int unknown[] = {1, -14, -65535, -65537, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_string_equal(dirty_err_name(unknown[i]), "UNKNOWN");
        assert_int_equal(dirty_err_http_status(unknown[i]), 500);
    }
    assert_string_equal(dirty_version(), DIRTY_VERSION);
}

/* -- Requests ----------------------------------------------------------------------- */

static void test_names_of_a_request(void **state) {
    (void)state;
    char longest[257];
    dirty_request *r;
    memset(longest, 'n', sizeof longest);
    longest[255] = '\0';
    assert_int_equal(dirty_request_new(&r, longest, "@x"), 0);
    static const char *const wrong[] = {NULL, "", "a b", "a\n", "\x7f", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dirty_request *none = r;
        assert_int_equal(dirty_request_reset(r, wrong[i], "x"), DIRTY_EINVALID);
        assert_int_equal(dirty_request_reset(r, "x", wrong[i]), DIRTY_EINVALID);
        assert_int_equal(dirty_request_new(&none, "x", wrong[i]), DIRTY_EINVALID);
        assert_null(none);
    }
    assert_true(dirty_slice_equals(r->app_name, longest, 255));
    longest[255] = 'n';
    longest[256] = '\0';
    assert_int_equal(dirty_request_reset(r, longest, "x"), DIRTY_EINVALID);
    dirty_request_free(r);
}

/* All bytes of a request, taken `max_pieces` at a time and `step` bytes counted as sent
 * each time. */
static dirty_buf gather(const dirty_request *r, int max_pieces, size_t step) {
    static dirty_outgoing out; /* 600 bytes that valgrind watches */
    struct iovec pieces[64];
    dirty_buf all = {0};
    dirty_outgoing_init(&out, r, 7, 1000, 123456789);
    while (dirty_outgoing_next(&out, pieces, max_pieces) > 0) {
        size_t len = pieces[0].iov_len < step ? pieces[0].iov_len : step;
        dirty_buf_append(&all, pieces[0].iov_base, len);
        dirty_outgoing_advance(&out, len);
    }
    assert_int_equal(out.sent, all.len);
    return all;
}

static void test_a_request_sent_in_steps_of_every_size(void **state) {
    (void)state;
    dirty_request *r;
    assert_int_equal(dirty_request_new(&r, "app", "action"), 0);
    dirty_request_add_bytes(r, "12345", 5);
    dirty_request_add_bytes(r, "", 0);
    dirty_request_add_json(r, "[]", 2);
    dirty_request_set_metadata(r, "{}", 2);
    dirty_buf whole = gather(r, 64, 1000);
    assert_int_equal(whole.len, DIRTY_FRAME_HEADER_LEN + dirty_request_payload_len(r));
    for (size_t step = 1; step <= whole.len; step++) {
        dirty_buf parts = gather(r, 1 + (int)step % 3, step);
        assert_int_equal(parts.len, whole.len);
        assert_memory_equal(parts.base, whole.base, whole.len);
        dirty_buf_deinit(&parts);
    }
    /* And it is what the server's side reads. */
    dirty_frame frame;
    dirty_route route;
    dirty_slice metadata;
    dirty_value_reader args;
    dirty_value value;
    const uint8_t *payload = whole.base + DIRTY_FRAME_HEADER_LEN;
    assert_int_equal(dirty_frame_decode(whole.base, whole.len, UINT32_MAX, &frame), 0);
    assert_int_equal(frame.id, 7);
    assert_int_equal(
        dirty_route_decode(payload, frame.payload_len, frame.payload_len, &route), 0);
    assert_int_equal(
        dirty_request_open(payload, frame.payload_len, &route, 3, &metadata, &args), 0);
    assert_int_equal(route.budget_ms, 1000);
    assert_int_equal(route.extension.deadline_ns, 123456789);
    assert_true(dirty_slice_equals(metadata, "{}", 2));
    for (int i = 0; i < 3; i++)
        assert_int_equal(dirty_value_next(&args, &value), 0);
    assert_int_equal(dirty_value_reader_end(&args), 0);
    assert_true(dirty_slice_equals(value.bytes, "[]", 2));
    dirty_buf_deinit(&whole);
    dirty_request_free(r);
}

static void test_the_longest_head_fits(void **state) {
    (void)state;
    char longest[256];
    dirty_request *r;
    memset(longest, '"', 255);
    longest[255] = '\0';
    assert_int_equal(dirty_request_new(&r, longest, longest), 0);
    dirty_buf whole = gather(r, 64, 1000);
    assert_int_equal(whole.len, DIRTY_REQUEST_HEAD_MAX);
    dirty_buf_deinit(&whole);
    dirty_request_free(r);
}

static void test_what_no_request_can_carry(void **state) {
    (void)state;
    dirty_request *r;
    assert_int_equal(dirty_request_new(&r, "app", "action"), 0);
    assert_int_equal(dirty_request_add_bytes(r, "", (size_t)UINT32_MAX + 1),
                     DIRTY_EINVALID);
    assert_int_equal(dirty_request_add_bytes(r, NULL, 1), DIRTY_EINVALID);
    assert_int_equal(dirty_request_set_metadata(r, "", (size_t)UINT32_MAX + 1),
                     DIRTY_EINVALID);
    assert_int_equal(dirty_request_set_priority(r, -1), DIRTY_EINVALID);
    assert_int_equal(r->argc, 0);
    dirty_request_free(r);
}

static void test_a_request_that_is_none(void **state) {
    (void)state;
    const int wrong = DIRTY_EINVALID;
    assert_int_equal(dirty_request_reset(NULL, "a", "b"), wrong);
    assert_int_equal(dirty_request_add_bytes(NULL, "", 0), wrong);
    assert_int_equal(dirty_request_add_json(NULL, "1", 1), wrong);
    assert_int_equal(dirty_request_add_string(NULL, "x"), wrong);
    assert_int_equal(dirty_request_add_string(NULL, NULL), wrong);
    assert_int_equal(dirty_request_add_integer(NULL, 1), wrong);
    assert_int_equal(dirty_request_add_number(NULL, 0.5), wrong);
    assert_int_equal(dirty_request_add_boolean(NULL, 1), wrong);
    assert_int_equal(dirty_request_add_nil(NULL), wrong);
    assert_int_equal(dirty_request_addf(NULL, "%d", 1), wrong);
    assert_int_equal(dirty_request_set_metadata(NULL, "1", 1), wrong);
    assert_int_equal(dirty_request_set_priority(NULL, 1), wrong);
    dirty_request_set_budget_ms(NULL, 1);
    dirty_request_free(NULL);
    dirty_stream *none = NULL;
    dirty_reply *chunk;
    assert_int_equal(dirty_stream_next(none, &chunk), wrong);
    assert_null(chunk);
}

/* -- What a runtime says ------------------------------------------------------------ */

static void expect_words(const char *said, const char *expected) {
    char room[200];
    dirty_runtime_error_text(said, room, sizeof room);
    assert_string_equal(room, expected);
    for (size_t size = 1; size <= strlen(expected); size++) {
        char *exact = malloc(size); /* so that valgrind sees a step too far */
        dirty_runtime_error_text(said, exact, size);
        assert_true(strlen(exact) < size);
        free(exact);
    }
}

static void test_lines_of_the_log_in_words(void **state) {
    (void)state;
    expect_words("", "");
    expect_words("a line\nand \"msg\" another\n\n", "a line\nand \"msg\" another");
    expect_words(" msg=\"can't listen\" socket=/s reason=\"in use\" remedy=\"stop it\"\n",
                 "can't listen (socket /s): in use; stop it");
    expect_words("one\n msg=ended how=\"by \\\"me\\\"\" ms=7\ntwo",
                 "one\nended (how by \"me\", ms 7)\ntwo");
    expect_words(" msg=\"a\\tb\\n", "a\tb");
    expect_words(" msg=\"\\", "\\");
    expect_words(" msg=", "");
    expect_words(" msg=a =b c", "a ( bc)");
}

/* -- JSON --------------------------------------------------------------------------- */

static void expect_peek(const char *text, const char *expected) {
    size_t len = strlen(text);
    char *exact = malloc(len + 1); /* so that valgrind sees a step too far */
    memcpy(exact, text, len);
    dirty_slice got = dirty_json_peek_string((dirty_slice){exact, len}, "started");
    if (expected == NULL)
        assert_null(got.base);
    else
        assert_true(dirty_slice_equals(got, expected, strlen(expected)));
    for (size_t cut = 0; cut < len; cut++)
        dirty_json_peek_string((dirty_slice){exact, cut}, "started");
    free(exact);
}

static void test_peeking_at_a_member(void **state) {
    (void)state;
    expect_peek("{\"started\":\"yes\"}", "yes");
    expect_peek(" {\t\"a\" : 1 ,\n \"started\" : \"no\" , \"b\":2}", "no");
    expect_peek("{\"a\":{\"started\":\"inner\"},\"started\":\"outer\"}", "outer");
    expect_peek("{\"a\":[\"started\",{\"x\":[]}],\"b\":\"}\\\"\",\"started\":\"x\"}",
                "x");
    expect_peek("{\"a\":\"started\",\"b\":\"yes\"}", NULL);
    expect_peek("{\"started\":1}", NULL);
    expect_peek("{\"started\":\"no\",\"started\":\"yes\"}", "yes");
    expect_peek("{\"started\":\"no\",\"started\":1}", NULL);
    expect_peek("{\"started\":\"yes", NULL);
    expect_peek("{\"started\":\"yes\\", NULL);
    expect_peek("[\"started\",\"yes\"]", NULL);
    expect_peek("{\"a\"]}", NULL);
    expect_peek("{\"a\":}}}}", NULL);
    expect_peek("{\"a\":]]]]", NULL);
    expect_peek("{\"a\":[[[[", NULL);
    expect_peek("{}", NULL);
    expect_peek("", NULL);
}

static void test_peeking_at_garbage(void **state) {
    (void)state;
    static const char alphabet[] = "{}[]\":,\\ started1";
    uint64_t seed = harness_seed();
    for (int round = 0; round < 20000; round++) {
        size_t len = harness_random(&seed, 40);
        char *text = malloc(len + 1);
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[harness_random(&seed, sizeof alphabet - 1)];
        if (len > 0)
            text[0] = '{';
        dirty_slice got = dirty_json_peek_string((dirty_slice){text, len}, "started");
        assert_true(got.base == NULL || got.base + got.len < text + len);
        free(text);
    }
}

static void expect_unescaped(const char *text, const char *expected) {
    size_t len = strlen(text);
    char *exact = malloc(len + 1), out[64]; /* so that valgrind sees a step too far */
    memcpy(exact, text, len);
    dirty_slice value = {exact, len};
    assert_string_equal(dirty_json_unescape(value, out, sizeof out), expected);
    for (size_t size = 1; size <= strlen(expected); size++) {
        memset(out, '#', sizeof out);
        assert_int_equal(strlen(dirty_json_unescape(value, out, size)), size - 1);
        assert_memory_equal(out, expected, size - 1);
        assert_int_equal(out[size], '#');
    }
    free(exact);
}

/* Words for a log: what is no ASCII and was escaped becomes a question mark. */
static void test_unescaping(void **state) {
    (void)state;
    expect_unescaped("", "");
    expect_unescaped("no escapes", "no escapes");
    expect_unescaped("\\n\\r\\t\\b\\f", "\n\r\t\b\f");
    expect_unescaped("a\\\\b\\\"c\\/", "a\\b\"c/");
    expect_unescaped("<\\u0041\\u006a\\u006Az>", "<Ajjz>");
    expect_unescaped("\\u0001\\u007f", "\x01\x7f");
    expect_unescaped("\\u0000\\u0080\\u00e4\\u1041\\ud800", "?????");
    expect_unescaped("\\u0041\\u0041", "AA");
    expect_unescaped("a\\", "a\\");
    expect_unescaped("\\u41", "A");
    expect_unescaped("\\u", "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_texts_and_statuses),
        cmocka_unit_test(test_names_of_a_request),
        cmocka_unit_test(test_a_request_sent_in_steps_of_every_size),
        cmocka_unit_test(test_the_longest_head_fits),
        cmocka_unit_test(test_what_no_request_can_carry),
        cmocka_unit_test(test_a_request_that_is_none),
        cmocka_unit_test(test_lines_of_the_log_in_words),
        cmocka_unit_test(test_peeking_at_a_member),
        cmocka_unit_test(test_peeking_at_garbage),
        cmocka_unit_test(test_unescaping),
    };
    return cmocka_run_group_tests_name("client parts", tests, NULL, NULL);
}
