/* frame: the 16-byte header of every message, and the payload of ERROR, which is the same
 * in both directions. Sans-I/O: it decodes bytes that the caller has. docs/protocol.md is
 * the normative text.
 *
 *   magic "DW" · version u8 · type u8 · payload length u32 · request id u64 */
#ifndef DIRTY_FRAME_H
#define DIRTY_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "wire/fault.h"

#define DIRTY_WIRE_VERSION 1
#define DIRTY_FRAME_HEADER_LEN 16
/* Default of the option max_message: the largest payload received or sent, in bytes. */
#define DIRTY_MAX_MESSAGE_DEFAULT (64u << 20)
/* Limits of an ERROR frame, independent of max_message. The payload has a code, two value
 * heads, the message and the details. */
#define DIRTY_ERROR_MESSAGE_MAX 65536
#define DIRTY_ERROR_DETAILS_MAX 262144
#define DIRTY_ERROR_PAYLOAD_MAX \
    (4 + 5 + DIRTY_ERROR_MESSAGE_MAX + 5 + DIRTY_ERROR_DETAILS_MAX)

typedef enum dirty_frame_type {
    DIRTY_FRAME_REQUEST = 1,
    DIRTY_FRAME_RESPONSE = 2,
    DIRTY_FRAME_ERROR = 3,
    DIRTY_FRAME_CHUNK = 4,
    DIRTY_FRAME_END = 5 /* 6 to 8 are reserved for several requests on one connection */
} dirty_frame_type;

typedef struct dirty_frame {
    uint8_t type; /* a dirty_frame_type */
    uint32_t payload_len;
    uint64_t id;
} dirty_frame;

/* Decode the header in `bytes`, of which `len` are there. Magic, version and type are
 * checked as soon as their byte is there, so garbage is detected before 16 bytes came.
 * max_payload limits payload_len; an ERROR has its own limit. Returns OK, MORE or a
 * fault. *out is complete with OK, and with TOO_LONG and BAD_LENGTH, because the answer
 * needs the id. */
dirty_wire_fault dirty_frame_decode(const uint8_t *bytes, size_t len,
                                    uint32_t max_payload, dirty_frame *out);

void dirty_frame_encode(uint8_t out[DIRTY_FRAME_HEADER_LEN], dirty_frame_type type,
                        uint32_t payload_len, uint64_t id);

/* Append a complete ERROR frame. `code` is a wire number of dirty_errors.h. `details` is
 * the text of a JSON object; NULL stands for one with `started` only, from the list of
 * codes. A message over DIRTY_ERROR_MESSAGE_MAX bytes is cut. Details over
 * DIRTY_ERROR_DETAILS_MAX bytes are replaced by those of NULL. So no peer rejects an
 * ERROR for its length. */
void dirty_error_encode(dirty_buf *out, uint64_t id, uint16_t code, dirty_slice message,
                        const char *details);

typedef struct dirty_error {
    uint16_t code;
    dirty_slice message; /* borrowed from the payload, like details */
    dirty_slice details; /* JSON text of an object */
} dirty_error;

/* Decode the complete payload of an ERROR frame. Returns OK or a fault. */
dirty_wire_fault dirty_error_decode(const uint8_t *payload, size_t len, dirty_error *out);

#endif
