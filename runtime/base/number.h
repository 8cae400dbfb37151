/* number: numbers as JSON text, without a locale and without loss. */
#ifndef DIRTY_NUMBER_H
#define DIRTY_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

#define DIRTY_NUMBER_TEXT_MAX 32

/* Write `value` as JSON: integers up to 2^53 in digits alone, anything else in the fewest
 * digits (15 to 17, ending zeros left out) that read back as the same number, with an
 * exponent where it is under 10^-5 or from 2^53 up. Returns the length, 0 for NaN and
 * infinities, which JSON does not have. No NUL is promised. */
size_t dirty_number_format(char out[DIRTY_NUMBER_TEXT_MAX], double value);

/* Read a JSON integer of at most 15 digits. False for all else, which may still be a
 * number. */
bool dirty_number_parse_int(dirty_slice text, double *out);

/* Whether a JSON text may have a whole number over 2^53, which may be none that a double
 * is. Quick, and sure of "no" alone: inside of strings it takes digits for numbers. */
bool dirty_number_may_be_long(dirty_slice json);

#endif
