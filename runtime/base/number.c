#include "base/number.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define EXACT_MAX 9007199254740992.0 /* 2^53: not all larger integers are doubles */
#define DECIMAL_MIN 1e-5             /* smaller numbers get an exponent */
#define INT_DIGITS_MAX 15

/* Write the digits of `n`. Returns how many. */
static size_t put_digits(char *out, uint64_t n) {
    char digits[20];
    size_t count = 0, len = 0;
    do {
        digits[count++] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    while (count > 0)
        out[len++] = digits[--count];
    return len;
}

/* -- With printf --------------------------------------------------------------------- */

/* Replace the decimal point by a dot and return the new length. A program that uses us as
 * a library may have set a locale whose point is another one, of several bytes. */
static size_t put_point(char *text, size_t len) {
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        bool own = (text[i] >= '0' && text[i] <= '9') || strchr("+-e.", text[i]) != NULL;
        if (own)
            text[at++] = text[i];
        else if (at > 0 && text[at - 1] != '.')
            text[at++] = '.';
    }
    return at;
}

/* Format any number, with an exponent if it is very large or very small. */
static size_t format_by_printf(char *out, double size) {
    size_t len = 0;
    for (int digits = 15; digits <= 17; digits++) {
        len = (size_t)snprintf(out, DIRTY_NUMBER_TEXT_MAX - 1, "%.*g", digits, size);
        if (strtod(out, NULL) == size)
            break;
    }
    return put_point(out, len);
}

/* -- Decimals by integer arithmetic -------------------------------------------------- */

#ifdef __SIZEOF_INT128__

/* digits / 10^places */
typedef struct decimal {
    uint64_t digits;
    unsigned places;
} decimal;

/* A double (mantissa / 2^shift) times 10^places: a number with 17 digits before its
 * point. `rest` is the fraction, in units of 2^-shift. */
typedef struct scaled {
    uint64_t digits;
    unsigned __int128 rest, ulp; /* ulp: one step of the mantissa */
    unsigned shift, places;
    bool is_power; /* of two: the next number below is half an ulp away */
} scaled;

static const uint64_t powers_of_ten[] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
};

/* 10^exponent, up to 10^36. */
static unsigned __int128 power_of_ten(unsigned exponent) {
    unsigned low = exponent < 18 ? exponent : 18;
    return (unsigned __int128)powers_of_ten[low] * powers_of_ten[exponent - low];
}

/* How many places give 17 digits before the point, for a size from 10^-5 to 2^53. */
static unsigned places_of(double size) {
    unsigned places = 16;
    for (unsigned i = 1; (double)powers_of_ten[i] <= size; i++)
        places--;
    for (unsigned i = 0; size * (double)powers_of_ten[i] < 1; i++)
        places++;
    return places;
}

/* No overflow: 10^21 times a mantissa of 53 bits has 123 bits, and the shift is at most
 * 69. */
static scaled scale(double size) {
    int exponent;
    uint64_t mantissa = (uint64_t)ldexp(frexp(size, &exponent), 53);
    scaled s = {.shift = (unsigned)(53 - exponent), .places = places_of(size)};
    s.ulp = power_of_ten(s.places);
    unsigned __int128 product = mantissa * s.ulp;
    s.digits = (uint64_t)(product >> s.shift);
    s.rest = product - ((unsigned __int128)s.digits << s.shift);
    s.is_power = mantissa == UINT64_C(1) << 52;
    return s;
}

/* Round off the last `left_out` digits. False if the result does not read back as the
 * same number. */
static bool round_off(const scaled *s, unsigned left_out, decimal *out) {
    uint64_t power = powers_of_ten[left_out];
    unsigned __int128 step = (unsigned __int128)power << s->shift;
    unsigned __int128 gone =
        ((unsigned __int128)(s->digits % power) << s->shift) + s->rest;
    bool up = gone >= step - gone;
    unsigned __int128 error = up ? step - gone : gone;
    *out = (decimal){s->digits / power + up, s->places - left_out};
    return error * (s->is_power ? 4 : 2) < s->ulp;
}

static size_t put_decimal(char *out, decimal d) {
    while (d.places > 0 && d.digits % 10 == 0) {
        d.digits /= 10;
        d.places--;
    }
    uint64_t unit = powers_of_ten[d.places < 18 ? d.places : 18];
    bool small = d.digits < unit; /* no digits before the point */
    size_t len = put_digits(out, small ? 0 : d.digits / unit);
    if (d.places == 0)
        return len;
    out[len++] = '.';
    char digits[20];
    size_t count = put_digits(digits, small ? d.digits : d.digits % unit);
    for (size_t zeros = d.places - count; zeros > 0; zeros--)
        out[len++] = '0';
    memcpy(out + len, digits, count);
    return len + count;
}

/* Find the fewest digits, from 15 on, that read back as `size`. 17 are always enough. */
static size_t format_decimal(char *out, double size) {
    scaled s = scale(size);
    decimal d;
    for (unsigned left_out = 2; !round_off(&s, left_out, &d) && left_out > 0; left_out--)
        ;
    return put_decimal(out, d);
}

#else /* a 32-bit machine */

static size_t format_decimal(char *out, double size) {
    return format_by_printf(out, size);
}

#endif

/* -- All numbers -------------------------------------------------------------------- */

size_t dirty_number_format(char out[DIRTY_NUMBER_TEXT_MAX], double value) {
    double size = fabs(value);
    if (!isfinite(value))
        return 0;
    size_t sign = signbit(value) ? 1 : 0;
    out[0] = '-';
    if (size <= EXACT_MAX && (double)(uint64_t)size == size)
        return sign + put_digits(out + sign, (uint64_t)size);
    if (size >= DECIMAL_MIN && size < EXACT_MAX)
        return sign + format_decimal(out + sign, size);
    return sign + format_by_printf(out + sign, size);
}

bool dirty_number_parse_int(dirty_slice text, double *out) {
    size_t at = text.len > 0 && text.base[0] == '-' ? 1 : 0;
    size_t digits = text.len - at;
    bool leading_zero = digits > 1 && text.base[at] == '0';
    if (digits == 0 || digits > INT_DIGITS_MAX || leading_zero)
        return false;
    int64_t value = 0;
    for (size_t i = at; i < text.len; i++) {
        if (text.base[i] < '0' || text.base[i] > '9')
            return false;
        value = value * 10 + (text.base[i] - '0');
    }
    if (at > 0 && value == 0)
        return false; /* "-0" is not 0 */
    *out = at > 0 ? -(double)value : (double)value;
    return true;
}

/* -- Integers that may not fit ------------------------------------------------------- */

#define LONG_DIGITS 16
#define EXACT_TEXT "9007199254740992" /* EXACT_MAX */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Whether the digits from `from` up to `to` may be an integer that is too large, and not
 * a fraction or a string of digits. */
static bool is_long(dirty_slice json, size_t from, size_t to) {
    if (to - from < LONG_DIGITS)
        return false;
    if (from > 0 && (json.base[from - 1] == '.' || json.base[from - 1] == '"'))
        return false;
    if (to < json.len && memchr(".eE", json.base[to], 3) != NULL)
        return false;
    return to - from > LONG_DIGITS ||
           memcmp(json.base + from, EXACT_TEXT, LONG_DIGITS) > 0;
}

bool dirty_number_may_be_long(dirty_slice json) {
    /* 16 digits in a row always include a position that this loop looks at */
    for (size_t at = LONG_DIGITS - 1; at < json.len; at += LONG_DIGITS) {
        if (!is_digit(json.base[at]))
            continue;
        size_t from = at, to = at;
        while (from > 0 && is_digit(json.base[from - 1]))
            from--;
        while (to < json.len && is_digit(json.base[to]))
            to++;
        if (is_long(json, from, to))
            return true;
        at = to; /* this is no digit, so the next 16 begin after it */
    }
    return false;
}
