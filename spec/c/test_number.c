#include "harness.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

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

static void fractions_are_written_in_digits(void **state) {
    (void)state;
    assert_text(19.99, "19.99");
    assert_text(-1234.5, "-1234.5");
    assert_text(0.00001, "0.00001");
    assert_text(-0.000098765432101234567, "-0.00009876543210123456");
    assert_text(999999.99999999, "999999.99999999");
    assert_text(9007199254740991.0 / 2, "4503599627370495.5");
    assert_text(9007199254740991.0 / 8, "1125899906842623.9");
    assert_text(0.99999999999999989, "0.9999999999999999");
    assert_text(9999999999999.998, "9999999999999.998");
    assert_text(9.5367431640625e-06, "9.5367431640625e-06");
    assert_text(1e-9, "1e-09");
    assert_text(9007199254740994.0, "9007199254740994");
    assert_text(1152921504606846976.0, "1.152921504606847e+18");
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

/* No fewer digits than printf finds to be needed, and no more. */
static void assert_fewest(double value) {
    char text[DIRTY_NUMBER_TEXT_MAX + 1], should[DIRTY_NUMBER_TEXT_MAX];
    size_t len = dirty_number_format(text, value);
    text[len] = '\0';
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(should, sizeof should, "%.*e", digits - 1, value);
        if (strtod(should, NULL) == value) {
            char same[DIRTY_NUMBER_TEXT_MAX];
            snprintf(same, sizeof same, "%.*e", digits - 1, strtod(text, NULL));
            assert_string_equal(same, should);
            break;
        }
    }
    assert_comes_back(value);
    size_t count = 0;
    for (const char *c = text; *c && *c != 'e'; c++)
        count += *c >= '0' && *c <= '9' && (count > 0 || *c > '0');
    assert_in_range(count, 1, 17);
}

static void decimals_have_the_fewest_digits(void **state) {
    (void)state;
    static const double parts[] = {1e-12, 1e-9, 1e-8, 1e-6, 1e-4, 1e-2, 1, 1e3, 1e6};
    uint64_t seed = harness_seed();
    for (int i = 0; i < 100000; i++) {
        double near = (double)harness_random(&seed, UINT32_MAX) * parts[i % 9];
        assert_fewest(near);
        assert_fewest(nextafter(near, 0));
        assert_fewest(-nextafter(near, INFINITY));
    }
    for (double power = 1e-18; power < 1e18; power *= 2) {
        assert_fewest(power);
        assert_fewest(nextafter(power, 0));
        assert_fewest(nextafter(power, INFINITY));
    }
    for (double power = 1e-18; power < 1e18; power *= 10) {
        assert_fewest(nextafter(power, 0));
        assert_fewest(nextafter(power, INFINITY));
    }
}

/* glibc's LC_NUMERIC of a locale whose point is U+066B, two bytes in UTF-8. */
static const char wide_numeric[] =
    "\x14\x11\x03\x20\x06\0\0\0\x20\0\0\0\x23\0\0\0\x24\0\0\0\x28\0\0\0\x2c\0\0\0"
    "\x30\0\0\0\xd9\xab\0\0\0\0\0\0\x6b\x06\0\0\0\0\0\0UTF-8";

static void the_point_is_a_dot_in_any_locale(void **state) {
    (void)state;
    char dir[] = "/tmp/dirty-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/xx", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/xx/LC_NUMERIC", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fwrite(wide_numeric, 1, sizeof wide_numeric, file);
    fclose(file);
    setenv("LOCPATH", dir, 1);
    char *set = setlocale(LC_NUMERIC, "xx");
    unlink(path);
    snprintf(path, sizeof path, "%s/xx", dir);
    rmdir(path);
    rmdir(dir);
    assert_non_null(set);
    assert_text(1.5, "1.5");
    assert_text(1.5e300, "1.5e+300");
    assert_text(-2.5e-300, "-2.5e-300");
    setlocale(LC_NUMERIC, "C");
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
        cmocka_unit_test(fractions_are_written_in_digits),
        cmocka_unit_test(decimals_have_the_fewest_digits),
        cmocka_unit_test(what_json_does_not_have_is_refused),
        cmocka_unit_test(every_number_comes_back),
        cmocka_unit_test(the_point_is_a_dot_in_any_locale),
        cmocka_unit_test(integers_are_read),
        cmocka_unit_test(what_is_no_such_integer_is_left_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
