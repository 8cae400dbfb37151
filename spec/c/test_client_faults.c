/* Answers that break the protocol or off, at every byte, and memory that runs out. */
#include "harness.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "client/alloc.h"
#include "client_rig.h"
#include "wire/value.h"

/* -- Memory that runs out: the library's seam, brought by this program ----------------
 */

static int fail_at; /* the allocation that fails, counted down; 0: none */
static int blocks;  /* allocated and not freed */

void *dirty_realloc(void *p, size_t size) {
    if (fail_at > 0 && --fail_at == 0)
        return NULL;
    void *now = realloc(p, size);
    blocks += p == NULL && now != NULL;
    return now;
}

void dirty_dealloc(void *p) {
    blocks -= p != NULL;
    free(p);
}

/* -- A server that sends prepared bytes ------------------------------------------------
 */

typedef struct script {
    dirty_buf answer; /* the request's id is put into it at bytes 8…15 */
    size_t cut;       /* bytes of it that are sent */
    size_t pause_at;  /* the first so many go out alone */
    bool patch_id;
    bool hold; /* then wait for the client to end, else close */
} script;

static void serve_script(fake *f, int fd, int number) {
    (void)number;
    script *s = f->arg;
    while (fake_read_request(f, fd)) {
        if (s->patch_id)
            dirty_put64(s->answer.base + 8, f->id);
        if (s->pause_at > 0) {
            fake_send(fd, s->answer.base, s->pause_at);
            usleep(500);
        }
        fake_send(fd, s->answer.base + s->pause_at, s->cut - s->pause_at);
        if (!s->hold)
            return;
    }
}

/* A frame of `type` with a payload of `hex`: pairs of digits, blanks between. */
static void set_answer(script *s, dirty_frame_type type, const char *hex) {
    uint8_t payload[256], header[DIRTY_FRAME_HEADER_LEN];
    size_t len = 0;
    for (int n; sscanf(hex, " %2hhx%n", &payload[len], &n) == 1; hex += n)
        len++;
    s->answer.len = 0;
    dirty_frame_encode(header, type, (uint32_t)len, 0);
    dirty_buf_append(&s->answer, header, sizeof header);
    dirty_buf_append(&s->answer, payload, len);
    s->cut = s->answer.len;
    s->pause_at = 0;
    s->patch_id = true;
    s->hold = true;
}

#define TWO_VALUES "0002 62 00000003 610062 6a 00000004 6e756c6c"
#define THIRTY_TWO_BYTES \
    "6161616161616161616161616161616161616161616161616161616161616161"
#define APP_ERROR "0003 0000 62 00000004 626f6f6d 6a 00000002 7b7d"

typedef struct script_rig {
    rig r;
    script s;
} script_rig;

static script_rig start(void) {
    return (script_rig){0};
}

static void begin(script_rig *t) {
    rig_start(&t->r, serve_script, &t->s, 5000);
}

static void end(script_rig *t) {
    rig_stop(&t->r);
    dirty_buf_deinit(&t->s.answer);
}

/* -- Answers that break off ------------------------------------------------------------
 */

static void test_an_answer_that_breaks_off_at_every_byte(void **state) {
    (void)state;
    script_rig t = start();
    begin(&t);
    set_answer(&t.s, DIRTY_FRAME_RESPONSE, TWO_VALUES);
    t.s.hold = false;
    for (t.s.cut = 0; t.s.cut < t.s.answer.len; t.s.cut++) {
        const char *started = t.s.cut < DIRTY_FRAME_HEADER_LEN ? "unknown" : "yes";
        rig_expect_failure(&t.r, DIRTY_ECONNECTION, started,
                           t.s.cut ? "in the middle of the answer" : "before an answer");
    }
    assert_int_equal(rig_call(&t.r), 0);
    assert_int_equal(dirty_reply_count(t.r.reply), 2);
    /* Never a second try: the server had read it. */
    assert_int_equal(t.r.server.requests, t.s.answer.len + 1);
    end(&t);
}

static void test_an_error_that_breaks_off_at_every_byte(void **state) {
    (void)state;
    script_rig t = start();
    begin(&t);
    set_answer(&t.s, DIRTY_FRAME_ERROR, APP_ERROR);
    t.s.hold = false;
    for (t.s.cut = 0; t.s.cut < t.s.answer.len; t.s.cut++)
        rig_expect_failure(&t.r, DIRTY_ECONNECTION, "unknown", "");
    rig_expect_failure(&t.r, DIRTY_EAPP, "yes", "boom");
    end(&t);
}

static void test_an_answer_in_two_parts_split_at_every_byte(void **state) {
    (void)state;
    script_rig t = start();
    begin(&t);
    set_answer(&t.s, DIRTY_FRAME_RESPONSE, TWO_VALUES);
    for (t.s.pause_at = 1; t.s.pause_at < t.s.answer.len; t.s.pause_at++) {
        assert_int_equal(rig_call(&t.r), 0);
        assert_int_equal(dirty_reply_count(t.r.reply), 2);
    }
    set_answer(&t.s, DIRTY_FRAME_ERROR, APP_ERROR);
    for (t.s.pause_at = 1; t.s.pause_at < t.s.answer.len; t.s.pause_at++)
        rig_expect_failure(&t.r, DIRTY_EAPP, "yes", "boom");
    assert_int_equal(t.r.server.connections, 1);
    end(&t);
}

/* -- Answers that are wrong ------------------------------------------------------------
 */

typedef struct wrong {
    dirty_frame_type type;
    const char *payload, *started, *words;
} wrong;

static void test_wrong_payloads(void **state) {
    (void)state;
    static const wrong cases[] = {
        {DIRTY_FRAME_RESPONSE, "", "yes", "past the end"},
        {DIRTY_FRAME_RESPONSE, "00", "yes", "past the end"},
        {DIRTY_FRAME_RESPONSE, "0001", "yes", "count"},
        {DIRTY_FRAME_RESPONSE, "ffff 62 00000000", "yes", "count"},
        {DIRTY_FRAME_RESPONSE, "0000 62 00000000", "yes", "count"},
        {DIRTY_FRAME_RESPONSE, "0001 62 00000001", "yes", "past the end"},
        {DIRTY_FRAME_RESPONSE, "0001 62 ffffffff 00", "yes", "past the end"},
        {DIRTY_FRAME_RESPONSE, "0001 6d 00000000", "yes", "tag"},
        {DIRTY_FRAME_ERROR, "", "unknown", "past the end"},
        {DIRTY_FRAME_ERROR, "0003 0000 62 00000000", "unknown", "count"},
        {DIRTY_FRAME_ERROR, "0003 0000 6a 00000002 7b7d 6a 00000002 7b7d", "unknown",
         "tag"},
        {DIRTY_FRAME_ERROR, "0000 0000 62 00000000 6a 00000002 7b7d", "unknown", "code"},
        {DIRTY_FRAME_ERROR, "0003 0000 62 00000000 6a 00000000", "unknown", "details"},
        {DIRTY_FRAME_ERROR, "0003 0000 62 00000000 6a 00000002 5b5d", "unknown",
         "details"},
        {DIRTY_FRAME_ERROR, APP_ERROR "00", "unknown", "count"},
        {DIRTY_FRAME_REQUEST, "", "unknown", "REQUEST"},
        {DIRTY_FRAME_CHUNK, TWO_VALUES, "yes", "streams"},
        {DIRTY_FRAME_END, "", "yes", "streams"},
        {DIRTY_FRAME_END, "00", "unknown", "END"},
    };
    script_rig t = start();
    begin(&t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_answer(&t.s, cases[i].type, cases[i].payload);
        rig_expect_failure(&t.r, DIRTY_EPROTOCOL, cases[i].started, cases[i].words);
        assert_int_equal(t.r.server.connections, i + 1);
    }
    end(&t);
}

static void test_wrong_headers(void **state) {
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
        const char *words;
    } cases[] = {
        {0, 'X', "magic"}, {1, 'X', "magic"}, {2, 0, "version"},
        {2, 2, "version"}, {3, 0, "type"},    {3, 6, "type"},
        {8, 0xff, "id"},   {15, 0xff, "id"},  {4, 0xff, "max_message"},
    };
    script_rig t = start();
    begin(&t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_answer(&t.s, DIRTY_FRAME_RESPONSE, TWO_VALUES);
        dirty_put64(t.s.answer.base + 8, i + 1);
        t.s.patch_id = false;
        t.s.answer.base[cases[i].at] = cases[i].value;
        rig_expect_failure(&t.r, DIRTY_EPROTOCOL, cases[i].at == 4 ? "yes" : "unknown",
                           cases[i].words);
        assert_int_equal(t.r.server.connections, i + 1);
    }
    end(&t);
}

static void test_garbage(void **state) {
    (void)state;
    script_rig t = start();
    uint64_t seed = harness_seed();
    begin(&t);
    for (int round = 0; round < 3000; round++) {
        set_answer(&t.s, DIRTY_FRAME_RESPONSE, round % 2 ? TWO_VALUES : APP_ERROR);
        t.s.answer.base[3] = (uint8_t)(round % 2 ? 2 : 3);
        t.s.hold = false;
        for (uint32_t n = harness_random(&seed, 4); n > 0; n--) {
            size_t at = harness_random(&seed, (uint32_t)t.s.answer.len);
            t.s.answer.base[at] = (uint8_t)harness_random(&seed, 256);
        }
        t.s.cut = harness_random(&seed, (uint32_t)t.s.answer.len + 1);
        int rc = rig_call(&t.r);
        assert_true((rc == 0) == (t.r.reply != NULL));
        assert_int_equal(rc, dirty_err(t.r.client));
        assert_int_equal(strlen(dirty_err_details(t.r.client)) > 0, 1);
    }
    end(&t);
}

static void test_limits_of_a_message(void **state) {
    (void)state;
    script_rig t = start();
    begin(&t);
    set_answer(&t.s, DIRTY_FRAME_RESPONSE, "0001 62 00000020" THIRTY_TWO_BYTES);
    uint32_t len = (uint32_t)t.s.answer.len - DIRTY_FRAME_HEADER_LEN;
    for (int more = -1; more <= 1; more++) {
        dirty_options options;
        dirty_options_init(&options);
        options.socket = t.r.server.path;
        options.max_message = (uint32_t)((int)len + more);
        dirty_free(t.r.client);
        assert_int_equal(dirty_open(&t.r.client, &options), 0);
        assert_int_equal(dirty_request_reset(t.r.request, "a", "b"), 0);
        if (more < 0)
            rig_expect_failure(&t.r, DIRTY_EPROTOCOL, "yes", "max_message");
        else
            assert_int_equal(rig_call(&t.r), 0);
    }
    /* The request's own payload: 10 bytes, the names, the deadline, a value. */
    char room[64] = {0};
    uint32_t fits =
        len + 1 - 10 - 1 - 1 - DIRTY_EXTENSION_WRITTEN_MAX - DIRTY_VALUE_HEAD_LEN;
    dirty_request_add_bytes(t.r.request, room, fits);
    assert_int_equal(rig_call(&t.r), 0);
    dirty_request_reset(t.r.request, "a", "b");
    dirty_request_add_bytes(t.r.request, room, fits + 1);
    rig_expect_failure(&t.r, DIRTY_EPROTOCOL, "no", "max_message");
    assert_int_equal(t.r.server.connections, 3);
    end(&t);
}

/* -- Memory ----------------------------------------------------------------------------
 */

static void serve_five(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd))
        fake_echo(f, fd);
}

/* Everything once, five values there and back. */
static int whole_life(const char *path) {
    dirty_client *c = NULL;
    dirty_request *r = NULL;
    dirty_reply *reply = NULL;
    dirty_options options;
    dirty_options_init(&options);
    options.socket = path;
    int rc = dirty_open(&c, &options);
    assert_int_equal(rc, dirty_err(c));
    if (rc == 0)
        rc = dirty_request_new(&r, "app", "action");
    for (int i = 0; rc == 0 && i < 12; i++)
        dirty_request_add_json(r, "null", 4);
    if (rc == 0)
        rc = dirty_call(c, r, &reply);
    assert_int_equal(rc == 0, reply != NULL);
    dirty_reply_free(reply);
    dirty_request_free(r);
    dirty_free(c);
    return rc;
}

static void test_no_memory_at_the_nth_time(void **state) {
    (void)state;
    fake server;
    fake_start(&server, 16, serve_five, NULL);
    int before = rig_count_descriptors(), nth = 0, rc;
    do {
        fail_at = ++nth;
        rc = whole_life(server.path);
        assert_true(rc == 0 || rc == DIRTY_EMEMORY);
        assert_int_equal(blocks, 0);
    } while (rc != 0);
    fail_at = 0;
    assert_in_range(nth, 5, 20);
    fake_await_closed(&server, atomic_load(&server.connections));
    assert_int_equal(rig_count_descriptors(), before);
    fake_stop(&server);
}

static void test_no_memory_for_an_error(void **state) {
    (void)state;
    script_rig t = start();
    begin(&t);
    set_answer(&t.s, DIRTY_FRAME_ERROR, APP_ERROR);
    fail_at = 1;
    rig_expect_failure(&t.r, DIRTY_EMEMORY, "unknown", "out of memory");
    rig_expect_failure(&t.r, DIRTY_EAPP, "yes", "boom");
    assert_int_equal(t.r.server.connections, 2);
    end(&t);
    assert_int_equal(blocks, 0);
}

static void test_a_failed_argument_is_remembered(void **state) {
    (void)state;
    script_rig t = start();
    begin(&t);
    fail_at = 1;
    assert_int_equal(dirty_request_add_bytes(t.r.request, "x", 1), DIRTY_EMEMORY);
    assert_int_equal(dirty_request_add_bytes(t.r.request, "x", 1), 0);
    rig_expect_failure(&t.r, DIRTY_EMEMORY, "no", "arguments");
    dirty_request_reset(t.r.request, "app", "action");
    assert_int_equal(dirty_request_set_priority(t.r.request, 10), DIRTY_EINVALID);
    rig_expect_failure(&t.r, DIRTY_EINVALID, "no", "priority");
    assert_int_equal(t.r.server.connections, 0);
    end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_that_breaks_off_at_every_byte),
        cmocka_unit_test(test_an_error_that_breaks_off_at_every_byte),
        cmocka_unit_test(test_an_answer_in_two_parts_split_at_every_byte),
        cmocka_unit_test(test_wrong_payloads),
        cmocka_unit_test(test_wrong_headers),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_limits_of_a_message),
        cmocka_unit_test(test_no_memory_at_the_nth_time),
        cmocka_unit_test(test_no_memory_for_an_error),
        cmocka_unit_test(test_a_failed_argument_is_remembered),
    };
    return cmocka_run_group_tests_name("client faults", tests, NULL, NULL);
}
