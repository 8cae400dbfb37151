/* value: an argument or result on the wire: tag u8, length u32, bytes. Sans-I/O. The
 * message around a list of values (request, response, chunk) has their count. The reader
 * below walks the list without allocating. */
#ifndef DIRTY_VALUE_H
#define DIRTY_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "wire/frame.h"

#define DIRTY_VALUE_HEAD_LEN 5
/* Default of the option max_args: the number of values in one request or response. */
#define DIRTY_MAX_ARGS_DEFAULT 255

typedef enum dirty_value_tag {
    DIRTY_TAG_BYTES = 'b', /* raw bytes, a Lua string */
    DIRTY_TAG_JSON = 'j'   /* JSON text of one value; 'm' is reserved */
} dirty_value_tag;

typedef struct dirty_value {
    uint8_t tag;       /* a dirty_value_tag */
    dirty_slice bytes; /* borrowed from the payload */
} dirty_value;

typedef struct dirty_value_reader {
    const uint8_t *at, *end;
    uint32_t left; /* number of values still to come */
} dirty_value_reader;

void dirty_value_reader_init(dirty_value_reader *r, const uint8_t *bytes, size_t len,
                             uint32_t count);

/* Take the next value. Returns OK with *out set, or a fault: BAD_TAG, TRUNCATED, or
 * BAD_COUNT if the bytes end too early. Call it only while r->left > 0. */
dirty_wire_fault dirty_value_next(dirty_value_reader *r, dirty_value *out);

/* Call this after the last value. Returns OK if all bytes were used, else BAD_COUNT. */
dirty_wire_fault dirty_value_reader_end(const dirty_value_reader *r);

void dirty_value_encode_head(uint8_t out[DIRTY_VALUE_HEAD_LEN], dirty_value_tag tag,
                             uint32_t len);
void dirty_value_append(dirty_buf *out, dirty_value_tag tag, const void *data,
                        uint32_t len);

/* Check that a value is what its tag says: JSON nested no deeper than max_depth. Returns
 * OK, or BAD_JSON with a message in `why`: "argument 2 is not JSON: Expected …". `what`
 * is the value's name in it. */
dirty_wire_fault dirty_value_check(const dirty_value *v, uint32_t max_depth,
                                   const char *what, char *why, size_t size);

/* Open the payload of a RESPONSE or CHUNK: count u16, then that many values. Returns OK
 * with the reader set, TOO_MANY if there are more than max_args, or TRUNCATED. */
dirty_wire_fault dirty_values_open(const uint8_t *payload, size_t len, uint32_t max_args,
                                   dirty_value_reader *out);

#endif
