/* number: converts numbers to and from JSON text, independent of the locale and without
 * loss. */
#ifndef DIRTY_NUMBER_H
#define DIRTY_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

#define DIRTY_NUMBER_TEXT_MAX 32

/* Write `value` as JSON. Integers up to 2^53 have digits only. Other numbers get the
 * fewest digits that read back as the same number (15 to 17, without trailing zeros),
 * with an exponent below 10^-5 and from 2^53 up. Returns the length; 0 for NaN and
 * infinities, which JSON can't express. The text need not end with a NUL. */
size_t dirty_number_format(char out[DIRTY_NUMBER_TEXT_MAX], double value);

/* Read a JSON integer of at most 15 digits. Returns false for all other text, which may
 * still be a number. */
bool dirty_number_parse_int(dirty_slice text, double *out);

/* Whether a JSON text may hold an integer above 2^53, which a double may not represent.
 * Fast and conservative: false is certain, true may be wrong because digits inside of
 * strings count too. */
bool dirty_number_may_be_long(dirty_slice json);

#endif
