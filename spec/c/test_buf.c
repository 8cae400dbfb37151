#include "harness.h"

#include <errno.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/utf8.h"

/* -- Growth -------------------------------------------------------------------------- */

static void a_zeroed_buffer_is_an_empty_one(void **state) {
    (void)state;
    dirty_buf b = {0};
    assert_null(b.base);
    assert_int_equal(b.len, 0);
    assert_false(dirty_buf_failed(&b));
    dirty_buf_append(&b, NULL, 0);
    assert_null(b.base); /* nothing appended, nothing allocated */
    dirty_buf_deinit(&b);
    dirty_buf_deinit(&b);
}

static void what_is_appended_byte_by_byte_is_all_there(void **state) {
    (void)state;
    dirty_buf b = {0};
    for (uint32_t i = 0; i < 5000; i++) {
        uint8_t byte = (uint8_t)(i * 7);
        dirty_buf_append(&b, &byte, 1);
        assert_true(b.len <= b.cap);
    }
    assert_int_equal(b.len, 5000);
    for (uint32_t i = 0; i < 5000; i++)
        assert_int_equal(b.base[i], (uint8_t)(i * 7));
    dirty_buf_deinit(&b);
    assert_int_equal(b.cap, 0);
}

static void reserved_room_is_used_without_moving(void **state) {
    (void)state;
    dirty_buf b = {0};
    assert_int_equal(dirty_buf_reserve(&b, 10000), 0);
    const uint8_t *base = b.base;
    for (int i = 0; i < 1000; i++)
        dirty_buf_append(&b, "0123456789", 10);
    assert_ptr_equal(b.base, base);
    dirty_buf_deinit(&b);
}

/* A buffer that is as full as one can be: the next byte can't be had, whatever memory
 * there is. */
static dirty_buf full_buffer(uint8_t *byte) {
    return (dirty_buf){.base = byte, .len = SIZE_MAX / 2, .cap = SIZE_MAX / 2};
}

static void growth_that_overflows_is_refused_and_changes_nothing(void **state) {
    (void)state;
    uint8_t byte = 'x';
    dirty_buf b = full_buffer(&byte);
    assert_int_equal(dirty_buf_reserve(&b, 1), -ENOMEM);
    assert_int_equal(dirty_buf_reserve(&b, SIZE_MAX), -ENOMEM);
    assert_int_equal(b.len, SIZE_MAX / 2);
    assert_false(dirty_buf_failed(&b));
    dirty_buf small = {0};
    assert_int_equal(dirty_buf_reserve(&small, SIZE_MAX), -ENOMEM);
    assert_int_equal(dirty_buf_reserve(&small, SIZE_MAX / 4), -ENOMEM);
    assert_null(small.base);
    dirty_buf_append(&small, "x", 1);
    assert_int_equal(small.len, 1);
    dirty_buf_deinit(&small);
}

static void a_failed_append_is_sticky(void **state) {
    (void)state;
    uint8_t byte = 'x';
    for (int how = 0; how < 4; how++) {
        dirty_buf b = full_buffer(&byte);
        switch (how) {
        case 0: dirty_buf_append(&b, "y", 1); break;
        case 1: dirty_buf_append_cstr(&b, "y"); break;
        case 2: dirty_buf_printf(&b, "%d", 5); break;
        case 3: dirty_buf_json_string(&b, "y", 1); break;
        }
        assert_true(dirty_buf_failed(&b));
        b.len = 0; /* there is room again, but what is missing stays missing */
        dirty_buf_append(&b, "y", 1);
        dirty_buf_printf(&b, "%s", "y");
        assert_int_equal(b.len, 0);
        assert_int_equal(byte, 'x');
    }
}

static void printf_takes_any_length(void **state) {
    (void)state;
    char long_text[3000];
    memset(long_text, 'z', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    dirty_buf b = {0};
    dirty_buf_printf(&b, "%s", "");
    assert_int_equal(b.len, 0);
    dirty_buf_printf(&b, "%d-%s-%d", 1, long_text, 2);
    dirty_buf_append(&b, "", 1);
    assert_int_equal(b.len, 3004);
    assert_memory_equal(b.base, "1-zzz", 5);
    assert_string_equal((char *)b.base + 2999, "zz-2");
    dirty_buf_deinit(&b);
}

static void consume_keeps_the_rest(void **state) {
    (void)state;
    static const struct {
        size_t count;
        const char *rest;
    } cases[] = {{0, "abcdef"}, {1, "bcdef"}, {5, "f"}, {6, ""}, {7, ""}, {SIZE_MAX, ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dirty_buf b = {0};
        dirty_buf_append(&b, "abcdef", 6);
        dirty_buf_consume(&b, cases[i].count);
        assert_int_equal(b.len, strlen(cases[i].rest));
        if (b.len > 0)
            assert_memory_equal(b.base, cases[i].rest, b.len);
        dirty_buf_deinit(&b);
    }
    dirty_buf none = {0};
    dirty_buf_consume(&none, 3);
    assert_int_equal(none.len, 0);
}

/* -- JSON strings ----------------------------------------------------------------------
 */

typedef struct json_case {
    const char *text;
    size_t len;
    const char *json;
} json_case;

#define CASE(text, json) {text, sizeof text - 1, json}
#define BAD "\\ufffd"

static const json_case json_cases[] = {
    CASE("", "\"\""),
    CASE("plain text", "\"plain text\""),
    CASE("a\"b\\c/d", "\"a\\\"b\\\\c/d\""),
    CASE("line\n", "\"line\\n\""),
    CASE("\t\r\b\f", "\"\\u0009\\u000d\\u0008\\u000c\""),
    CASE("\0\1\x1f\x7f", "\"\\u0000\\u0001\\u001f\\u007f\""),
    /* the first and the last of each length */
    CASE("\xc2\x80\xdf\xbf", "\"\\u0080\xdf\xbf\""),
    CASE("\xe0\xa0\x80\xef\xbf\xbf", "\"\xe0\xa0\x80\xef\xbf\xbf\""),
    CASE("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""),
    /* controls: the last of C1, what parts lines, what turns the writing round */
    CASE("\xc2\x9f\xc2\xa0", "\"\\u009f\xc2\xa0\""),
    CASE("\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xae\xe2\x80\xaf",
         "\"\xe2\x80\xa7\\u2028\\u202e\xe2\x80\xaf\""),
    /* around the surrogates */
    CASE("\xed\x9f\xbf\xee\x80\x80", "\"\xed\x9f\xbf\xee\x80\x80\""),
    CASE("\xed\xa0\x80", "\"" BAD BAD BAD "\""),
    CASE("\xed\xbf\xbf", "\"" BAD BAD BAD "\""),
    /* longer than need be */
    CASE("\xc0\x80", "\"" BAD BAD "\""),
    CASE("\xc1\xbf", "\"" BAD BAD "\""),
    CASE("\xe0\x9f\xbf", "\"" BAD BAD BAD "\""),
    CASE("\xf0\x8f\xbf\xbf", "\"" BAD BAD BAD BAD "\""),
    /* beyond Unicode, and bytes that begin nothing */
    CASE("\xf4\x90\x80\x80", "\"" BAD BAD BAD BAD "\""),
    CASE("\xf5\x80\x80\x80", "\"" BAD BAD BAD BAD "\""),
    CASE("\x80\xbf\xfe\xff", "\"" BAD BAD BAD BAD "\""),
    /* cut off, at the end and in the middle */
    CASE("a\xc3", "\"a" BAD "\""),
    CASE("\xe2\x82", "\"" BAD BAD "\""),
    CASE("\xf0\x9f\x98", "\"" BAD BAD BAD "\""),
    CASE("\xe2\x82\"x", "\"" BAD BAD "\\\"x\""),
};

static void json_strings_are_valid_whatever_the_bytes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof json_cases / sizeof *json_cases; i++) {
        const json_case *c = &json_cases[i];
        dirty_buf b = {0};
        char *exact = malloc(c->len ? c->len : 1); /* nothing behind it */
        memcpy(exact, c->text, c->len);
        dirty_buf_json_string(&b, exact, c->len);
        dirty_buf_append(&b, "", 1);
        assert_string_equal((char *)b.base, c->json);
        free(exact);
        dirty_buf_deinit(&b);
    }
}

static void every_byte_alone_makes_a_json_string(void **state) {
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        dirty_buf b = {0};
        char text = (char)byte;
        dirty_buf_json_string(&b, &text, 1);
        assert_true(b.len >= 3 && b.base[0] == '"' && b.base[b.len - 1] == '"');
        for (size_t i = 0; i < b.len; i++)
            assert_true(b.base[i] >= 0x20 && b.base[i] < 0x7f);
        dirty_buf_deinit(&b);
    }
}

/* -- Controls (base/utf8.h) ------------------------------------------------------------
 */

static void a_text_is_tamed_in_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *keep, *tame;
    } cases[] = {
        {"", "", ""},
        {"plain caf\xc3\xa9", "", "plain caf\xc3\xa9"},
        {"\x1b[2J\a\x7f\n\t", "", "?[2J????"},
        {"\x1b[2J\a\x7f\n\t", "\n\t", "?[2J??\n\t"},
        {"\xc2\x9b"
         "2J\x9b"
         "2J",
         "\n", "?2J?2J"},
        {"\xe2\x80\xae-\xe2\x81\xa6-\xe2\x80\xa8-\xd8\x9c", "", "?-?-?-?"},
        {"\xf0\x9f\x90\x9f\xf0\x9f\x90", "", "\xf0\x9f\x90\x9f???"},
        {"\xc3\x1b\xc3", "", "???"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len = strlen(cases[i].text);
        char *exact = malloc(len ? len : 1); /* nothing behind it */
        memcpy(exact, cases[i].text, len);
        len = dirty_utf8_tame(exact, len, cases[i].keep);
        assert_int_equal(len, strlen(cases[i].tame));
        assert_memory_equal(exact, cases[i].tame, len);
        free(exact);
    }
}

/* -- Integers (base/bytes.h)
 * -------------------------------------------------------------- */

static void integers_are_big_endian(void **state) {
    (void)state;
    uint8_t p[8];
    dirty_put64(p, 0x0102030405060708ull);
    assert_memory_equal(p, "\1\2\3\4\5\6\7\10", 8);
    assert_true(dirty_get64(p) == 0x0102030405060708ull);
    dirty_put32(p, 0xfffefdfcu);
    assert_true(dirty_get32(p) == 0xfffefdfcu);
    dirty_put16(p, 0x80ff);
    assert_int_equal(dirty_get16(p), 0x80ff);
    memset(p, 0xff, sizeof p);
    assert_true(dirty_get64(p) == UINT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zeroed_buffer_is_an_empty_one),
        cmocka_unit_test(what_is_appended_byte_by_byte_is_all_there),
        cmocka_unit_test(reserved_room_is_used_without_moving),
        cmocka_unit_test(growth_that_overflows_is_refused_and_changes_nothing),
        cmocka_unit_test(a_failed_append_is_sticky),
        cmocka_unit_test(printf_takes_any_length),
        cmocka_unit_test(consume_keeps_the_rest),
        cmocka_unit_test(json_strings_are_valid_whatever_the_bytes),
        cmocka_unit_test(every_byte_alone_makes_a_json_string),
        cmocka_unit_test(a_text_is_tamed_in_place),
        cmocka_unit_test(integers_are_big_endian),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
