/* request: the payload of a REQUEST frame.
 *
 *   budget_ms u32 · priority u8 · flags u8 · argc u16 · app len u8 · action len u8 ·
 *   app · action · [extension block, if flag bit 1] ·
 *   [metadata: one value, tag j, if flag bit 0] · argc values
 *
 * The route is everything before the metadata. The arbiter reads only the route, from the
 * first bytes; the lane reads the rest. */
#ifndef DIRTY_REQUEST_H
#define DIRTY_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "wire/extension.h"
#include "wire/frame.h"
#include "wire/value.h"

#define DIRTY_ROUTE_FIXED_LEN 10
#define DIRTY_NAME_MAX 255
/* The longest route that we write. A received one may have a longer extension block. */
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
    size_t values_at; /* offset of the metadata or values in the payload */
} dirty_route;

/* Decode the route from the first `have` bytes of a payload of payload_len bytes. Returns
 * OK, MORE (only if have < payload_len) or a fault. Names are 1..255 bytes of printable
 * ASCII (0x21..0x7e). An extension block has at most DIRTY_EXTENSION_MAX bytes. */
dirty_wire_fault dirty_route_decode(const uint8_t *payload, size_t have,
                                    size_t payload_len, dirty_route *out);

/* Are these bytes one whole request, and nothing behind it? Then frame and route are set.
 * False also for what is no request, or breaks a rule of frame or route. */
bool dirty_request_is_whole(const uint8_t *bytes, size_t len, uint32_t max_message,
                            dirty_frame *frame, dirty_route *route);

/* When the caller or the server gives up, in ns. 0: never. `arrived_ns` is when the first
 * byte was read, `timeout_ms` the server's limit (0: none). */
uint64_t dirty_route_deadline_ns(const dirty_route *route, uint64_t arrived_ns,
                                 uint32_t timeout_ms);

/* Open a complete payload. Points `metadata` at the metadata's JSON text (base NULL if
 * there is none) and sets the reader to the arguments. Returns OK, TOO_MANY if there are
 * more than max_args, and for the metadata the faults of dirty_value_next. The caller
 * reads all values and then calls dirty_value_reader_end. */
dirty_wire_fault dirty_request_open(const uint8_t *payload, size_t payload_len,
                                    const dirty_route *route, uint32_t max_args,
                                    dirty_slice *metadata, dirty_value_reader *args);

/* Check metadata and values of a complete payload as a lane would. The arbiter uses it
 * for requests to itself. Returns OK, or the fault with its message in `why` (`size`
 * bytes). */
dirty_wire_fault dirty_request_check(dirty_slice payload, const dirty_route *route,
                                     uint32_t max_args, uint32_t max_depth, char *why,
                                     size_t size);

/* Append header and route of a request. The caller then appends or sends metadata and
 * values, values_len encoded bytes in all. The extension block is written if
 * route->extension has an entry, whatever the flags say. Returns 0, or -EINVAL if the
 * protocol does not allow the name, the priority or the total length. */
int dirty_request_encode_head(dirty_buf *out, uint64_t id, const dirty_route *route,
                              size_t values_len);

#endif
