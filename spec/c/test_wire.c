#include "harness.h"

#include "base/bytes.h"
#include "dirty_errors.h"
#include "fixtures.h"
#include "walk.h"
#include "wire/fault.h"
#include "wire/json.h"

#define VALID "spec/fixtures/valid.txt"
#define INVALID "spec/fixtures/invalid.txt"

/* -- Fixtures ---------------------------------------------------------------------- */

typedef void fixture_check(const fixture *f);

static void for_each_fixture(const char *path, fixture_check *check) {
    fixtures *all = fixtures_load(path);
    assert_true(all->count > 20);
    for (size_t i = 0; i < all->count; i++)
        check(&all->all[i]);
    fixtures_free(all);
}

static void assert_same(const fixture *f, const char *what, const void *is, size_t is_len,
                        const char *notation) {
    dirty_buf should = {0};
    fixture_bytes(notation, &should);
    if (is_len != should.len || (is_len && memcmp(is, should.base, is_len) != 0))
        fail_msg("%s: %s differs", f->name, what);
    dirty_buf_deinit(&should);
}

static void assert_slice(const fixture *f, const char *key, dirty_slice is) {
    assert_same(f, key, is.base, is.len, fixture_text(f, key, 0));
}

static uint8_t type_of(const fixture *f) {
    static const char *const names[] = {"",      "REQUEST", "RESPONSE",
                                        "ERROR", "CHUNK",   "END"};
    for (uint8_t type = 1; type < sizeof names / sizeof *names; type++)
        if (strcmp(names[type], fixture_text(f, "type", 0)) == 0)
            return type;
    fail_msg("%s: no such type", f->name);
    return 0;
}

static walk_limits limits_of(const fixture *f) {
    const char *side = fixture_text(f, "side", 0);
    bool server = side ? strcmp(side, "server") == 0 : type_of(f) == DIRTY_FRAME_REQUEST;
    walk_limits limits = walk_defaults(server);
    limits.max_message = (uint32_t)fixture_number(f, "max_message", limits.max_message);
    limits.max_args = (uint32_t)fixture_number(f, "max_args", limits.max_args);
    return limits;
}

/* The fault of the first `len` bytes of the frame. They are walked where nothing lies
 * behind them, so that a sanitizer sees every byte read too much. */
static dirty_wire_fault fault_of(const fixture *f, size_t len, walked *w) {
    walk_limits limits = limits_of(f);
    uint8_t *bytes = malloc(len ? len : 1);
    memcpy(bytes, f->frame.base, len);
    dirty_wire_fault fault = walk(bytes, len, &limits, w);
    if (fault == DIRTY_WIRE_OK && !walk_is_inside(w, bytes, len))
        fail_msg("%s: a slice lies outside of the message", f->name);
    free(bytes);
    return fault;
}

static void assert_values(const fixture *f, const walked *w) {
    for (size_t i = 0; i < w->count; i++) {
        const char *value = fixture_text(f, "value", i);
        if (value == NULL || value[0] != w->values[i].tag)
            fail_msg("%s: value %zu has another tag, or none", f->name, i + 1);
        assert_same(f, "a value", w->values[i].bytes.base, w->values[i].bytes.len,
                    value + 2);
    }
    assert_null(fixture_text(f, "value", w->count));
}

static bool is_json(dirty_slice text) {
    dirty_json_look look;
    return dirty_json_is_valid(text, 1000, &look);
}

/* What has the tag of JSON is JSON; an error's details are an object. */
static bool json_is_good(const walked *w) {
    dirty_slice details = w->error.details;
    bool good = w->metadata.base == NULL || is_json(w->metadata);
    for (size_t i = 0; i < w->count; i++)
        good =
            good && (w->values[i].tag != DIRTY_TAG_JSON || is_json(w->values[i].bytes));
    if (w->frame.type == DIRTY_FRAME_ERROR)
        good = good && is_json(details) && details.base[0] == '{';
    return good;
}

static void assert_meaning(const fixture *f) {
    walked w;
    walk_limits limits = limits_of(f);
    uint8_t id[8];
    assert_int_equal(walk(f->frame.base, f->frame.len, &limits, &w), DIRTY_WIRE_OK);
    assert_int_equal(w.frame.type, type_of(f));
    dirty_put64(id, w.frame.id);
    assert_same(f, "id", id, sizeof id, fixture_text(f, "id", 0));
    assert_values(f, &w);
    assert_true(json_is_good(&w));
    if (w.frame.type == DIRTY_FRAME_REQUEST) {
        assert_int_equal(w.route.budget_ms, fixture_number(f, "budget_ms", -1));
        assert_int_equal(w.route.priority, fixture_number(f, "priority", -1));
        assert_int_equal(w.route.extension.deadline_ns,
                         fixture_number(f, "deadline_ns", 0));
        assert_slice(f, "app", w.route.app);
        assert_slice(f, "action", w.route.action);
        assert_int_equal(w.metadata.base != NULL, fixture_text(f, "metadata", 0) != NULL);
        if (w.metadata.base != NULL)
            assert_slice(f, "metadata", w.metadata);
    }
    if (w.frame.type == DIRTY_FRAME_ERROR) {
        assert_int_equal(w.error.code, fixture_number(f, "code", -1));
        assert_slice(f, "message", w.error.message);
        assert_slice(f, "details", w.error.details);
    }
}

static void valid_messages_mean_what_they_should(void **state) {
    (void)state;
    for_each_fixture(VALID, assert_meaning);
}

static void assert_written_so(const fixture *f) {
    walked w;
    dirty_buf again = {0};
    walk_limits limits = limits_of(f);
    assert_int_equal(walk(f->frame.base, f->frame.len, &limits, &w), DIRTY_WIRE_OK);
    walk_encode(&w, &again);
    bool same =
        again.len == f->frame.len && memcmp(again.base, f->frame.base, again.len) == 0;
    bool canonical = fixture_text(f, "canonical", 0) == NULL;
    if (same != canonical || canonical != walk_is_canonical(&w, f->frame.base))
        fail_msg("%s: written otherwise", f->name);
    dirty_buf_deinit(&again);
}

static void valid_messages_are_written_byte_for_byte(void **state) {
    (void)state;
    for_each_fixture(VALID, assert_written_so);
}

static void assert_more_until_whole(const fixture *f) {
    walked w;
    for (size_t len = 0; len < f->frame.len; len++)
        if (fault_of(f, len, &w) != DIRTY_WIRE_MORE)
            fail_msg("%s: not MORE after %zu bytes", f->name, len);
    assert_int_equal(fault_of(f, f->frame.len, &w), DIRTY_WIRE_OK);
}

static void every_start_of_a_message_asks_for_more(void **state) {
    (void)state;
    for_each_fixture(VALID, assert_more_until_whole);
}

/* The same messages, cut short and with a header that agrees: a payload that ends too
 * early, anywhere, is a fault. */
static void assert_cut_is_a_fault(const fixture *f) {
    walked w;
    fixture cut = *f;
    cut.frame = (dirty_buf){0};
    dirty_buf_append(&cut.frame, f->frame.base, f->frame.len);
    for (size_t len = DIRTY_FRAME_HEADER_LEN; len < f->frame.len; len++) {
        dirty_put32(cut.frame.base + 4, (uint32_t)(len - DIRTY_FRAME_HEADER_LEN));
        dirty_wire_fault fault = fault_of(&cut, len, &w);
        if (fault != DIRTY_WIRE_TRUNCATED && fault != DIRTY_WIRE_BAD_COUNT)
            fail_msg("%s, cut after %zu bytes: %s", f->name, len,
                     dirty_wire_fault_name(fault));
        /* bytes behind it, of what would be the next message, don't heal it */
        if (fault_of(&cut, f->frame.len, &w) != fault)
            fail_msg("%s, cut after %zu bytes: reads past its end", f->name, len);
    }
    dirty_buf_deinit(&cut.frame);
}

static void every_payload_cut_short_is_a_fault(void **state) {
    (void)state;
    for_each_fixture(VALID, assert_cut_is_a_fault);
}

/* Bytes of the next message behind this one change nothing. */
static void assert_followed_is_the_same(const fixture *f) {
    walked w;
    walk_limits limits = limits_of(f);
    dirty_buf two = {0};
    dirty_buf_append(&two, f->frame.base, f->frame.len);
    dirty_buf_append(&two, f->frame.base, f->frame.len);
    for (size_t more = 0; more <= f->frame.len && more <= 300; more++) {
        assert_int_equal(walk(two.base, f->frame.len + more, &limits, &w), DIRTY_WIRE_OK);
        assert_true(walk_is_inside(&w, two.base, f->frame.len));
        assert_int_equal(w.frame.payload_len + DIRTY_FRAME_HEADER_LEN, f->frame.len);
    }
    dirty_buf_deinit(&two);
}

static void bytes_behind_a_message_are_left_alone(void **state) {
    (void)state;
    for_each_fixture(VALID, assert_followed_is_the_same);
}

static void assert_fault(const fixture *f) {
    walked w;
    const char *name = fixture_text(f, "fault", 0);
    bool bad_json = strcmp(name, "BAD_JSON") == 0;
    if (bad_json) /* what is not JSON is told by whoever takes the value */
        name = "OK";
    size_t after = (size_t)fixture_number(f, "after", (long)f->frame.len);
    for (size_t len = 0; len <= f->frame.len; len++) {
        const char *told = dirty_wire_fault_name(fault_of(f, len, &w));
        const char *should = len < after ? "MORE" : name;
        if (strcmp(told, should) != 0)
            fail_msg("%s: %s after %zu bytes, should be %s", f->name, told, len, should);
    }
    walk_limits limits = limits_of(f);
    if (bad_json && walk(f->frame.base, f->frame.len, &limits, &w) == DIRTY_WIRE_OK)
        assert_false(json_is_good(&w));
}

static void invalid_messages_are_told_as_soon_as_they_can_be(void **state) {
    (void)state;
    for_each_fixture(INVALID, assert_fault);
}

static bool seen[-DIRTY_WIRE_FAULT_LAST + 1];

static void note_fault(const fixture *f) {
    for (int fault = -1; fault >= DIRTY_WIRE_FAULT_LAST; fault--)
        if (strcmp(dirty_wire_fault_name(fault), fixture_text(f, "fault", 0)) == 0)
            seen[-fault] = true;
}

static void every_fault_has_a_fixture(void **state) {
    (void)state;
    for_each_fixture(INVALID, note_fault);
    for (int fault = -1; fault >= DIRTY_WIRE_FAULT_LAST; fault--)
        if (!seen[-fault])
            fail_msg("no fixture gives %s", dirty_wire_fault_name(fault));
}

/* -- Faults ------------------------------------------------------------------------ */

static void every_fault_says_what_it_is(void **state) {
    (void)state;
    for (int fault = DIRTY_WIRE_MORE; fault >= DIRTY_WIRE_FAULT_LAST; fault--) {
        assert_true(strlen(dirty_wire_fault_text(fault)) > 4);
        for (int other = DIRTY_WIRE_MORE; other > fault; other--)
            assert_string_not_equal(dirty_wire_fault_name(fault),
                                    dirty_wire_fault_name(other));
    }
}

static void members_name_the_fault_and_the_limits(void **state) {
    (void)state;
    dirty_buf b = {0};
    dirty_wire_fault_members(&b, DIRTY_WIRE_TOO_MANY, 4096, 7);
    dirty_buf_append(&b, "", 1);
    assert_string_equal((char *)b.base, ",\"fault\":\"TOO_MANY\",\"versions\":[1],"
                                        "\"types\":[1,2,3,4,5],\"flags\":[0,1],"
                                        "\"extensions\":[1],"
                                        "\"tags\":[\"b\",\"j\"],\"max_message\":4096,"
                                        "\"max_args\":7");
    dirty_buf_deinit(&b);
}

/* -- Limits ------------------------------------------------------------------------ */

static void a_payload_of_the_limit_passes_and_a_byte_more_does_not(void **state) {
    (void)state;
    static const uint32_t limits[] = {0, 1, 100, DIRTY_MAX_MESSAGE_DEFAULT,
                                      UINT32_MAX - 1};
    uint8_t head[DIRTY_FRAME_HEADER_LEN];
    dirty_frame frame;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        uint32_t max = limits[i];
        dirty_frame_encode(head, DIRTY_FRAME_REQUEST, max, 9);
        assert_int_equal(dirty_frame_decode(head, sizeof head, max, &frame),
                         DIRTY_WIRE_OK);
        assert_int_equal(frame.payload_len, max);
        dirty_frame_encode(head, DIRTY_FRAME_REQUEST, max + 1, 9);
        assert_int_equal(dirty_frame_decode(head, sizeof head, max, &frame),
                         DIRTY_WIRE_TOO_LONG);
        assert_int_equal(frame.id, 9); /* the answer wants it */
    }
}

static void an_error_passes_however_small_the_limit_is(void **state) {
    (void)state;
    uint8_t head[DIRTY_FRAME_HEADER_LEN];
    dirty_frame frame;
    dirty_frame_encode(head, DIRTY_FRAME_ERROR, DIRTY_ERROR_PAYLOAD_MAX, 1);
    assert_int_equal(dirty_frame_decode(head, sizeof head, 0, &frame), DIRTY_WIRE_OK);
    dirty_frame_encode(head, DIRTY_FRAME_ERROR, DIRTY_ERROR_PAYLOAD_MAX + 1, 1);
    assert_int_equal(dirty_frame_decode(head, sizeof head, UINT32_MAX, &frame),
                     DIRTY_WIRE_TOO_LONG);
}

static dirty_wire_fault fault_of_count(uint32_t count, uint32_t max_args, bool server) {
    walked w = {.count = count, .frame = {.type = DIRTY_FRAME_RESPONSE}};
    walk_limits limits = walk_defaults(server);
    dirty_buf b = {0};
    limits.max_args = max_args;
    for (uint32_t i = 0; i < count; i++)
        w.values[i].tag = DIRTY_TAG_BYTES;
    if (server) {
        w.frame.type = DIRTY_FRAME_REQUEST;
        w.route = (dirty_route){.argc = (uint16_t)count,
                                .app = dirty_slice_cstr("a"),
                                .action = dirty_slice_cstr("b")};
    }
    walk_encode(&w, &b);
    dirty_wire_fault fault = walk(b.base, b.len, &limits, &w);
    dirty_buf_deinit(&b);
    return fault;
}

static void as_many_values_as_the_limit_pass_and_one_more_does_not(void **state) {
    (void)state;
    static const uint32_t limits[] = {0, 1, 255, 256};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        for (int server = 0; server <= 1; server++) {
            assert_int_equal(fault_of_count(limits[i], limits[i], server), DIRTY_WIRE_OK);
            assert_int_equal(fault_of_count(limits[i] + 1, limits[i], server),
                             DIRTY_WIRE_TOO_MANY);
        }
}

/* -- Writing ----------------------------------------------------------------------- */

static int head_of(dirty_slice app, dirty_slice action, uint8_t priority, uint8_t flags,
                   size_t values_len) {
    dirty_buf b = {0};
    dirty_route route = {
        .priority = priority, .flags = flags, .app = app, .action = action};
    int rc = dirty_request_encode_head(&b, 1, &route, values_len);
    if (rc < 0)
        assert_int_equal(b.len, 0);
    dirty_buf_deinit(&b);
    return rc;
}

static void a_request_that_nobody_would_read_is_not_written(void **state) {
    (void)state;
    char long_name[256];
    memset(long_name, 'x', sizeof long_name);
    dirty_slice ok = dirty_slice_cstr("app"), none = {"", 0}, space = {"a b", 3},
                nul = {"a\0b", 3}, high = {"\xc3\xa9", 2}, longest = {long_name, 255},
                longer = {long_name, 256};
    assert_int_equal(head_of(ok, ok, 9, 1, 0), 0);
    assert_int_equal(head_of(longest, longest, 0, 0, 0), 0);
    dirty_slice wrong[] = {none, space, nul, high, longer};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_true(head_of(wrong[i], ok, 0, 0, 0) < 0);
        assert_true(head_of(ok, wrong[i], 0, 0, 0) < 0);
    }
    assert_true(head_of(ok, ok, 10, 0, 0) < 0);
    assert_true(head_of(ok, ok, 0, 4, 0) < 0);
    assert_int_equal(head_of(ok, ok, 0, 0, UINT32_MAX - 16), 0);
    assert_true(head_of(ok, ok, 0, 0, UINT32_MAX - 15) < 0);
    assert_true(head_of(ok, ok, 0, 0, SIZE_MAX) < 0);
}

/* -- Extensions ---------------------------------------------------------------------- */

static uint64_t deadline_of(const char *value) {
    dirty_buf entries = {0};
    dirty_extension e;
    fixture_bytes("01 00 08", &entries);
    fixture_bytes(value, &entries);
    assert_int_equal(dirty_extension_decode(entries.base, entries.len, &e),
                     DIRTY_WIRE_OK);
    dirty_buf_deinit(&entries);
    return e.deadline_ns;
}

/* 0 is no deadline to us, and of the others none may make a sum run over. */
static void a_deadline_is_there_and_not_too_far(void **state) {
    (void)state;
    assert_int_equal(deadline_of("00*8"), 1);
    assert_int_equal(deadline_of("00*7 01"), 1);
    assert_int_equal(deadline_of("00*7 02"), 2);
    assert_true(deadline_of("7f ff*7") == DIRTY_DEADLINE_MAX_NS);
    assert_true(deadline_of("80 00*7") == DIRTY_DEADLINE_MAX_NS);
    assert_true(deadline_of("ff*8") == DIRTY_DEADLINE_MAX_NS);
}

static void extensions_that_say_nothing_are_not_written(void **state) {
    (void)state;
    dirty_extension none = {0};
    dirty_buf b = {0};
    dirty_extension_append(&b, &none);
    assert_int_equal(b.len, 0);
    assert_int_equal(dirty_extension_len(&none), 0);
    /* a flag alone makes no block */
    dirty_route route = {.app = dirty_slice_cstr("a"),
                         .action = dirty_slice_cstr("b"),
                         .flags = DIRTY_FLAG_EXTENSION};
    assert_int_equal(dirty_request_encode_head(&b, 1, &route, 0), 0);
    assert_int_equal(b.len, DIRTY_FRAME_HEADER_LEN + DIRTY_ROUTE_FIXED_LEN + 2);
    assert_int_equal(b.base[DIRTY_FRAME_HEADER_LEN + 5], 0);
    dirty_buf_deinit(&b);
}

static void decode_error(const dirty_buf *b, dirty_error *out) {
    dirty_frame frame;
    assert_int_equal(dirty_frame_decode(b->base, b->len, 0, &frame), DIRTY_WIRE_OK);
    assert_int_equal(frame.payload_len, b->len - DIRTY_FRAME_HEADER_LEN);
    assert_int_equal(
        dirty_error_decode(b->base + DIRTY_FRAME_HEADER_LEN, frame.payload_len, out),
        DIRTY_WIRE_OK);
}

static void errors_that_are_too_long_are_cut_to_what_every_peer_takes(void **state) {
    (void)state;
    for (size_t over = 0; over <= 1; over++) {
        size_t message_len = DIRTY_ERROR_MESSAGE_MAX + over;
        size_t details_len = DIRTY_ERROR_DETAILS_MAX + over;
        char *text = malloc(details_len + 1);
        memset(text, ' ', details_len);
        text[0] = '{', text[details_len - 1] = '}', text[details_len] = '\0';
        dirty_buf b = {0};
        dirty_error error;
        dirty_error_encode(&b, 1, 3, (dirty_slice){text, message_len}, text);
        decode_error(&b, &error);
        assert_int_equal(error.message.len, DIRTY_ERROR_MESSAGE_MAX);
        if (over)
            assert_true(dirty_slice_equals(error.details, "{\"started\":\"yes\"}", 17));
        else
            assert_int_equal(error.details.len, DIRTY_ERROR_DETAILS_MAX);
        dirty_buf_deinit(&b);
        free(text);
    }
}

static void an_error_without_details_says_whether_it_started(void **state) {
    (void)state;
#define ROW(name, number, http, started, retry, text) {number, started},
    static const struct {
        uint16_t number;
        const char *started;
    } list[] = {DIRTY_ERRORS(ROW){999, "unknown"}, {0, "unknown"}};
#undef ROW
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        char should[64];
        bool varies = strcmp(list[i].started, "varies") == 0;
        snprintf(should, sizeof should, "{\"started\":\"%s\"}",
                 varies ? "unknown" : list[i].started);
        dirty_buf b = {0};
        dirty_error error;
        dirty_error_encode(&b, 1, list[i].number, dirty_slice_cstr("x"), NULL);
        decode_error(&b, &error);
        assert_int_equal(error.code, list[i].number);
        assert_true(dirty_slice_equals(error.details, should, strlen(should)));
        dirty_buf_deinit(&b);
    }
}

/* -- Round trips and garbage --------------------------------------------------------- */

#define ROUNDS 20000

static char random_name_byte(uint64_t *seed) {
    return (char)(0x21 + harness_random(seed, 0x7f - 0x21));
}

static void random_values(walked *w, const char *bytes, uint64_t *seed) {
    w->count = harness_random(seed, 8);
    for (size_t i = 0; i < w->count; i++) {
        w->values[i].tag = harness_random(seed, 2) ? DIRTY_TAG_BYTES : DIRTY_TAG_JSON;
        w->values[i].bytes = (dirty_slice){bytes, harness_random(seed, 64)};
    }
}

/* A message that the protocol allows; names and values are parts of `bytes`. */
static void random_message(walked *w, char bytes[256], uint64_t *seed) {
    for (size_t i = 0; i < 256; i++)
        bytes[i] = random_name_byte(seed);
    memset(w, 0, sizeof *w);
    w->frame.type = (uint8_t)(1 + harness_random(seed, 5));
    w->frame.id = (uint64_t)harness_random(seed, UINT32_MAX) << 32 | *seed >> 32;
    if (w->frame.type == DIRTY_FRAME_ERROR) {
        w->error = (dirty_error){(uint16_t)harness_random(seed, 0x10000),
                                 {bytes, harness_random(seed, 100)},
                                 {bytes, harness_random(seed, 100)}};
    } else if (w->frame.type != DIRTY_FRAME_END) {
        random_values(w, bytes, seed);
    }
    w->route = (dirty_route){.budget_ms = harness_random(seed, UINT32_MAX),
                             .priority = (uint8_t)harness_random(seed, 10),
                             .flags = (uint8_t)harness_random(seed, 2),
                             .argc = (uint16_t)w->count,
                             .app = {bytes, 1 + harness_random(seed, 255)},
                             .action = {bytes, 1 + harness_random(seed, 255)}};
    if (harness_random(seed, 2))
        w->route.extension.deadline_ns = 1 + (*seed & DIRTY_DEADLINE_MAX_NS >> 1);
    w->metadata = (dirty_slice){bytes, harness_random(seed, 100)};
}

static void what_is_written_is_read_the_same(void **state) {
    (void)state;
    uint64_t seed = harness_seed();
    char bytes[256];
    static walked out, in;
    for (int i = 0; i < ROUNDS; i++) {
        dirty_buf first = {0}, second = {0};
        random_message(&out, bytes, &seed);
        walk_limits limits = walk_defaults(out.frame.type == DIRTY_FRAME_REQUEST);
        walk_encode(&out, &first);
        assert_int_equal(walk(first.base, first.len, &limits, &in), DIRTY_WIRE_OK);
        assert_true(in.frame.id == out.frame.id);
        assert_int_equal(in.count, out.count);
        walk_encode(&in, &second);
        assert_int_equal(first.len, second.len);
        assert_memory_equal(first.base, second.base, first.len);
        dirty_buf_deinit(&first);
        dirty_buf_deinit(&second);
    }
}

/* Decode a route whose names are `names`: an app of one byte and the rest. */
static dirty_wire_fault decode_names(const char *names, size_t len) {
    uint8_t payload[DIRTY_ROUTE_FIXED_LEN + 40] = {
        [8] = 1, /* length of the app's name */
        [9] = (uint8_t)(len - 1),
    };
    dirty_route route;
    memcpy(payload + DIRTY_ROUTE_FIXED_LEN, names, len);
    size_t payload_len = DIRTY_ROUTE_FIXED_LEN + len;
    return dirty_route_decode(payload, payload_len, payload_len, &route);
}

static void a_wrong_byte_is_found_anywhere_in_a_name(void **state) {
    (void)state;
    char names[40];
    for (size_t len = 2; len <= sizeof names; len++)
        for (size_t at = 0; at < len; at++)
            for (int byte = 0; byte < 256; byte++) {
                bool good = byte >= 0x21 && byte <= 0x7e;
                memset(names, at % 2 ? 0x21 : 0x7e, len);
                names[at] = (char)byte;
                assert_int_equal(decode_names(names, len),
                                 good ? DIRTY_WIRE_OK : DIRTY_WIRE_BAD_NAME);
            }
}

/* Whatever comes: an answer without a byte read outside, and slices that lie inside. */
static void assert_survives(const uint8_t *from, size_t len) {
    static walked w;
    uint8_t *bytes = malloc(len ? len : 1);
    memcpy(bytes, from, len);
    for (int server = 0; server <= 1; server++) {
        walk_limits limits = walk_defaults(server);
        dirty_wire_fault fault = walk(bytes, len, &limits, &w);
        assert_true(fault >= DIRTY_WIRE_FAULT_LAST && fault <= DIRTY_WIRE_MORE);
        if (fault == DIRTY_WIRE_OK)
            assert_true(walk_is_inside(&w, bytes, len));
    }
    free(bytes);
}

static void garbage_is_survived(void **state) {
    (void)state;
    uint64_t seed = harness_seed();
    uint8_t bytes[200];
    for (int i = 0; i < ROUNDS; i++) {
        size_t len = harness_random(&seed, sizeof bytes);
        for (size_t at = 0; at < len; at++)
            bytes[at] = (uint8_t)harness_random(&seed, 256);
        if (len >= DIRTY_FRAME_HEADER_LEN && harness_random(&seed, 4) > 0)
            dirty_frame_encode(bytes, 1 + harness_random(&seed, 5),
                               (uint32_t)len - DIRTY_FRAME_HEADER_LEN, seed);
        assert_survives(bytes, len);
    }
}

static void messages_with_broken_bytes_are_survived(void **state) {
    (void)state;
    uint64_t seed = harness_seed();
    char names[256];
    static walked w;
    for (int i = 0; i < ROUNDS; i++) {
        dirty_buf b = {0};
        random_message(&w, names, &seed);
        walk_encode(&w, &b);
        for (uint32_t left = 1 + harness_random(&seed, 4); left > 0; left--)
            b.base[harness_random(&seed, (uint32_t)b.len)] ^=
                (uint8_t)(1 << harness_random(&seed, 8));
        assert_survives(b.base, b.len);
        dirty_buf_deinit(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_messages_mean_what_they_should),
        cmocka_unit_test(valid_messages_are_written_byte_for_byte),
        cmocka_unit_test(every_start_of_a_message_asks_for_more),
        cmocka_unit_test(every_payload_cut_short_is_a_fault),
        cmocka_unit_test(bytes_behind_a_message_are_left_alone),
        cmocka_unit_test(invalid_messages_are_told_as_soon_as_they_can_be),
        cmocka_unit_test(every_fault_has_a_fixture),
        cmocka_unit_test(every_fault_says_what_it_is),
        cmocka_unit_test(members_name_the_fault_and_the_limits),
        cmocka_unit_test(a_payload_of_the_limit_passes_and_a_byte_more_does_not),
        cmocka_unit_test(an_error_passes_however_small_the_limit_is),
        cmocka_unit_test(as_many_values_as_the_limit_pass_and_one_more_does_not),
        cmocka_unit_test(a_request_that_nobody_would_read_is_not_written),
        cmocka_unit_test(a_deadline_is_there_and_not_too_far),
        cmocka_unit_test(extensions_that_say_nothing_are_not_written),
        cmocka_unit_test(errors_that_are_too_long_are_cut_to_what_every_peer_takes),
        cmocka_unit_test(an_error_without_details_says_whether_it_started),
        cmocka_unit_test(a_wrong_byte_is_found_anywhere_in_a_name),
        cmocka_unit_test(what_is_written_is_read_the_same),
        cmocka_unit_test(garbage_is_survived),
        cmocka_unit_test(messages_with_broken_bytes_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
