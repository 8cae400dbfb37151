#include "harness.h"

#include <float.h>
#include <math.h>

#include "base/number.h"

static void assert_text(double value, const char *should) {
    char text[DIRTY_NUMBER_TEXT_MAX];
    memset(text, '#', sizeof text);
    size_t len = dirty_number_format(text, value);
    assert_int_equal(len, strlen(should));
    assert_memory_equal(text, should, len);
}

static void numbers_are_written_as_json(void **state) {
    (void)state;
    assert_text(0, "0");
    assert_text(1, "1");
    assert_text(-42, "-42");
    assert_text(9007199254740991.0, "9007199254740991");
    assert_text(9007199254740992.0, "9007199254740992");
    assert_text(-9007199254740992.0, "-9007199254740992");
    assert_text(0.1, "0.1");
    assert_text(-0.5, "-0.5");
    assert_text(1e300, "1e+300");
    assert_text(1.0 / 3, "0.3333333333333333");
    assert_text(0.1 + 0.2, "0.30000000000000004");
    assert_text(-0.0, "-0");
}

static void what_json_does_not_have_is_refused(void **state) {
    (void)state;
    assert_text(NAN, "");
    assert_text(INFINITY, "");
    assert_text(-INFINITY, "");
}

static void assert_comes_back(double value) {
    char text[DIRTY_NUMBER_TEXT_MAX + 1];
    size_t len = dirty_number_format(text, value);
    assert_in_range(len, 1, DIRTY_NUMBER_TEXT_MAX);
    text[len] = '\0';
    assert_null(strchr(text, ','));
    assert_true(strtod(text, NULL) == value);
}

static void every_number_comes_back(void **state) {
    (void)state;
    uint64_t seed = harness_seed();
    static const double edges[] = {
        DBL_MAX,           -DBL_MAX, DBL_MIN,   DBL_EPSILON, 4.9e-324,           1e15,
        999999999999999.0, 1e16,     0.1 + 0.2, 2.5e-308,    123456789.123456789};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        assert_comes_back(edges[i]);
    for (int i = 0; i < 50000; i++) {
        double value;
        uint64_t bits =
            (uint64_t)harness_random(&seed, UINT32_MAX) << 32 | (uint32_t)(seed >> 7);
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value))
            assert_comes_back(value);
    }
}

static void assert_parsed(const char *text, double should) {
    double value = NAN;
    assert_true(dirty_number_parse_int(dirty_slice_cstr(text), &value));
    assert_true(value == should);
}

static void integers_are_read(void **state) {
    (void)state;
    assert_parsed("0", 0);
    assert_parsed("7", 7);
    assert_parsed("-7", -7);
    assert_parsed("1234567890", 1234567890.0);
    assert_parsed("999999999999999", 999999999999999.0);
    assert_parsed("-999999999999999", -999999999999999.0);
}

static void what_is_no_such_integer_is_left_to_others(void **state) {
    (void)state;
    static const char *const others[] = {"",
                                         "-",
                                         "+1",
                                         "01",
                                         "-01",
                                         "1.0",
                                         "1e3",
                                         " 1",
                                         "1 ",
                                         "0x10",
                                         "1_0",
                                         "--1",
                                         "a",
                                         "1-",
                                         "1\n",
                                         "١",
                                         "9999999999999999"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        double value = 5;
        assert_false(dirty_number_parse_int(dirty_slice_cstr(others[i]), &value));
    }
    double value;
    assert_false(dirty_number_parse_int((dirty_slice){"1\0", 2}, &value));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_written_as_json),
        cmocka_unit_test(what_json_does_not_have_is_refused),
        cmocka_unit_test(every_number_comes_back),
        cmocka_unit_test(integers_are_read),
        cmocka_unit_test(what_is_no_such_integer_is_left_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
