/* request: the payload of a REQUEST frame.
 *
 *   budget_ms u32 · priority u8 · flags u8 · argc u16 · app len u8 · action len u8 ·
 *   app · action · [extension block, if flag bit 1] ·
 *   [metadata: one value, tag j, if flag bit 0] · argc values
 *
 * The route is all before the metadata. The arbiter reads no more than it, from the first
 * bytes; the lane reads the rest. */
#ifndef DIRTY_REQUEST_H
#define DIRTY_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "wire/extension.h"
#include "wire/frame.h"
#include "wire/value.h"

#define DIRTY_ROUTE_FIXED_LEN 10
#define DIRTY_NAME_MAX 255
/* The longest route that is written here; one that comes may have a longer block. */
#define DIRTY_ROUTE_MAX \
    (DIRTY_ROUTE_FIXED_LEN + 2 * DIRTY_NAME_MAX + DIRTY_EXTENSION_WRITTEN_MAX)
#define DIRTY_PRIORITY_LAST 9
#define DIRTY_PRIORITY_DEFAULT 5
#define DIRTY_FLAG_METADATA 0x01
#define DIRTY_FLAG_EXTENSION 0x02
#define DIRTY_FLAGS_KNOWN (DIRTY_FLAG_METADATA | DIRTY_FLAG_EXTENSION)

typedef struct dirty_route {
    uint32_t budget_ms; /* 0: the server's default */
    uint8_t priority;   /* 0 first … 9 last */
    uint8_t flags;
    uint16_t argc;
    dirty_slice app, action; /* borrowed from the payload */
    dirty_extension extension;
    size_t values_at; /* offset in the payload where metadata or values begin */
} dirty_route;

/* Decode the route from the `have` bytes that are there of a payload of payload_len. OK,
 * MORE (only while have < payload_len) or a fault. Names are 1..255 bytes of printable
 * ASCII (0x21..0x7e); a block of extensions is within DIRTY_EXTENSION_MAX. */
dirty_wire_fault dirty_route_decode(const uint8_t *payload, size_t have,
                                    size_t payload_len, dirty_route *out);

/* With the whole payload there: point `metadata` at the metadata's JSON text (base NULL
 * if there is none) and open the reader on the arguments. OK, TOO_MANY over max_args, and
 * for the metadata what dirty_value_next says. The caller walks the reader and ends it.
 */
dirty_wire_fault dirty_request_open(const uint8_t *payload, size_t payload_len,
                                    const dirty_route *route, uint32_t max_args,
                                    dirty_slice *metadata, dirty_value_reader *args);

/* What the lane would find wrong with metadata and values, all there and none larger than
 * what is told at once. OK, or the fault, with words and place in `why` (`size` bytes).
 */
dirty_wire_fault dirty_request_check(dirty_slice payload, const dirty_route *route,
                                     uint32_t max_args, uint32_t max_depth, char *why,
                                     size_t size);

/* Append header and route of a request whose metadata and values (values_len bytes in
 * all, already encoded) the caller appends or sends next. Whether there is a block of
 * extensions follows from what they say, not from the flags. 0, or -EINVAL for a name,
 * priority or total length that the protocol does not allow. */
int dirty_request_encode_head(dirty_buf *out, uint64_t id, const dirty_route *route,
                              size_t values_len);

#endif
