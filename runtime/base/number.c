#include "base/number.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define EXACT_MAX 9007199254740992.0 /* 2^53: beyond it not every integer is a double */
#define INT_DIGITS_MAX 15

static size_t format_int(char *out, double value) {
    char digits[20];
    size_t n = 0, len = 0;
    uint64_t left = (uint64_t)fabs(value);
    do {
        digits[n++] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0)
        out[len++] = '-';
    while (n > 0)
        out[len++] = digits[--n];
    return len;
}

size_t dirty_number_format(char out[DIRTY_NUMBER_TEXT_MAX], double value) {
    if (!isfinite(value))
        return 0;
    if (fabs(value) <= EXACT_MAX && value == floor(value) &&
        !(value == 0 && signbit(value)))
        return format_int(out, value);
    int len = 0;
    for (int digits = 15; digits <= 17; digits++) {
        len = snprintf(out, DIRTY_NUMBER_TEXT_MAX, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    /* an app may have set a locale whose decimal point is another */
    for (int i = 0; i < len; i++)
        if ((out[i] < '0' || out[i] > '9') && strchr("+-e.", out[i]) == NULL)
            out[i] = '.';
    return (size_t)len;
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
        return false; /* "-0" is a number of its own */
    *out = at > 0 ? -(double)value : (double)value;
    return true;
}
