/* What is JSON: the words for what is not, with the place. That the verdicts are those of
 * RFC 8259 is compared with another reader in spec/unit/json_spec.lua. */
#include "harness.h"

#include "base/buf.h"
#include "wire/json.h"

static void expect_flaw(const char *text, size_t len, const char *words) {
    char said[200];
    dirty_json_look look;
    char *exact =
        malloc(len ? len : 1); /* so that a sanitizer sees what is read too much */
    memcpy(exact, text, len);
    dirty_slice s = {exact, len};
    if (dirty_json_is_valid(s, 1000, &look))
        fail_msg("taken: %.*s", (int)len, text);
    assert_string_equal(dirty_json_explain(s, &look, said, sizeof said), words);
    free(exact);
}

static void flaws_are_told_with_their_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "Expected value but found the end at character 1"},
        {" ", "Expected value but found the end at character 2"},
        {"[1,", "Expected value but found the end at character 4"},
        {"[1,]", "Expected value but found ']' at character 4"},
        {"[1 2]", "Expected ',' or ']' but found a number at character 4"},
        {"{]", "Expected object key string but found ']' at character 2"},
        {"{\"a\" \"b\"}", "Expected ':' but found a string at character 6"},
        {"{\"a\":1 \"b\"}", "Expected ',' or '}' but found a string at character 8"},
        {"{\"a\":1,}", "Expected object key string but found '}' at character 8"},
        {"[}", "Expected value but found '}' at character 2"},
        {"1.", "Expected a digit but found the end at character 3"},
        {"[1.]", "Expected a digit but found ']' at character 4"},
        {"[-.5]", "Expected a digit but found '.' at character 3"},
        {"-", "Expected a digit but found the end at character 2"},
        {"1e+", "Expected a digit but found the end at character 4"},
        {"01", "Expected the end but found a number at character 2"},
        {"+1", "Expected value but found '+' at character 1"},
        {"nul", "Expected value but found 'n' at character 1"},
        {"[true]x", "Expected the end but found 'x' at character 7"},
        {"\"a", "Expected the rest of a string but found the end at character 3"},
        {"\"a\1\"",
         "Expected the rest of a string but found the byte 0x01 at character 3"},
        {"\"\\x\"", "Expected an escape that JSON has but found '\\' at character 2"},
        {"\"\\", "Expected an escape that JSON has but found '\\' at character 2"},
        {"\"\\u12g4\"",
         "Expected \\u and four hexadecimal digits but found '\\' at character 2"},
        {"\xef\xbb\xbf"
         "1",
         "Expected value but found the byte 0xef at character 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_flaw(cases[i].text, strlen(cases[i].text), cases[i].words);
    expect_flaw("1\0", 2, "Expected the end but found the byte 0x00 at character 2");
    expect_flaw("\"\0\"", 3,
                "Expected the rest of a string but found the byte 0x00 at character 2");
}

static bool nests(size_t depth, uint32_t max_depth, const char *open, const char *close) {
    dirty_json_look look;
    dirty_buf text = {0};
    for (size_t i = 0; i < depth; i++)
        dirty_buf_append_cstr(&text, open);
    dirty_buf_append_cstr(&text, "1");
    for (size_t i = 0; i < depth; i++)
        dirty_buf_append_cstr(&text, close);
    dirty_slice s = {(const char *)text.base, text.len};
    bool valid = dirty_json_is_valid(s, max_depth, &look);
    char said[200];
    if (!valid) {
        assert_non_null(strstr(dirty_json_explain(s, &look, said, sizeof said),
                               "Found too many nested"));
        assert_int_equal(look.at, max_depth * strlen(open));
    }
    dirty_buf_deinit(&text);
    return valid;
}

static void levels_are_counted(void **state) {
    (void)state;
    static const uint32_t limits[] = {1, 63, 64, 65, 1000, DIRTY_JSON_DEPTH_MAX};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        assert_true(nests(limits[i], limits[i], "[", "]"));
        assert_false(nests(limits[i] + 1, limits[i], "[", "]"));
        assert_true(nests(limits[i], limits[i], "{\"a\":", "}"));
        assert_false(nests(limits[i] + 1, limits[i], "{\"a\":", "}"));
    }
    /* what it has room for, whatever it is told; and both kinds are told apart */
    assert_false(nests(DIRTY_JSON_DEPTH_MAX + 1, DIRTY_JSON_DEPTH_MAX, "[", "]"));
    assert_true(nests(500, 1000, "[{\"a\":", "}]"));
    expect_flaw("[{\"a\":[}]", 9, "Expected value but found '}' at character 8");
    expect_flaw("{\"a\":[1}", 8, "Expected ',' or ']' but found '}' at character 8");
}

/* A quote in any place of the eight bytes that are looked at in one go. */
static void strings_of_every_length(void **state) {
    (void)state;
    char text[64];
    dirty_json_look look;
    for (size_t len = 0; len < 40; len++)
        for (int c = 1; c < 256; c++) {
            memset(text, 'x', sizeof text);
            text[0] = text[len + 2] = '"';
            text[len + 1] = (char)c;
            bool takes = c >= 0x20 && c != '"' && c != '\\';
            dirty_slice s = {text, len + 3};
            if (dirty_json_is_valid(s, 1, &look) != takes)
                fail_msg("byte %d at %zu", c, len + 1);
        }
}

static void expect_mended(const char *text, const char *mended) {
    char out[100] = "";
    dirty_json_look look;
    dirty_slice s = dirty_slice_cstr(text);
    assert_true(dirty_json_is_valid(s, 1000, &look));
    assert_int_equal(look.halves, strcmp(text, mended) != 0);
    dirty_json_mend(s, out);
    assert_string_equal(out, mended);
}

static void halves_of_pairs_are_replaced(void **state) {
    (void)state;
    expect_mended("\"\\ud800\"", "\"\\ufffd\"");
    expect_mended("\"\\uDC00x\"", "\"\\ufffdx\"");
    expect_mended("\"\\ud83d\\ude00\"", "\"\\ud83d\\ude00\"");
    expect_mended("\"\\ud800\\ud83d\\ude00\"", "\"\\ufffd\\ud83d\\ude00\"");
    expect_mended("\"\\ude00\\ud83d\"", "\"\\ufffd\\ufffd\"");
    expect_mended("\"\\ud800\\u0041\"", "\"\\ufffd\\u0041\"");
    expect_mended("\"\\\\ud800\"", "\"\\\\ud800\"");
    expect_mended("[\"\\\"\\ud800\",{\"\\udfff\":1}]",
                  "[\"\\\"\\ufffd\",{\"\\ufffd\":1}]");
}

static bool doubts(const char *text) {
    return dirty_json_is_doubtful(dirty_slice_cstr(text));
}

/* In every place of the eight bytes that are looked at in one go. */
static void doubts_are_few(void **state) {
    (void)state;
    static const char *const doubtful[] = {"1.",    "1.]", "-.5",     "1.e2",
                                           "a\001", "\n",  "\\ud800", "\\uDfff"};
    static const char *const clear[] = {"1.5",     "a.b",  "a. b", "...", "\\n",
                                        "\\u00e9", "\x7f", "\xff", "-5",  "e.5"};
    char text[64];
    for (int before = 0; before < 20; before++) {
        for (size_t i = 0; i < sizeof doubtful / sizeof *doubtful; i++) {
            snprintf(text, sizeof text, "%*s%s", before, "", doubtful[i]);
            assert_true(doubts(text));
        }
        for (size_t i = 0; i < sizeof clear / sizeof *clear; i++) {
            snprintf(text, sizeof text, "%*s%sxxxxxxxx", before, "", clear[i]);
            assert_false(doubts(text));
        }
    }
    assert_true(dirty_json_is_doubtful((dirty_slice){"1\0", 2}));
    assert_false(doubts(""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flaws_are_told_with_their_place),
        cmocka_unit_test(levels_are_counted),
        cmocka_unit_test(strings_of_every_length),
        cmocka_unit_test(halves_of_pairs_are_replaced),
        cmocka_unit_test(doubts_are_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
