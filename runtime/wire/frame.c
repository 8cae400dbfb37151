#include "wire/frame.h"

#include <string.h>

#include "base/bytes.h"
#include "dirty_errors.h"
#include "wire/value.h"

/* Judge a header that is incomplete or wrong. */
static dirty_wire_fault judge_start(const uint8_t *bytes, size_t len) {
    if ((len > 0 && bytes[0] != 'D') || (len > 1 && bytes[1] != 'W'))
        return DIRTY_WIRE_BAD_MAGIC;
    if (len > 2 && bytes[2] != DIRTY_WIRE_VERSION)
        return DIRTY_WIRE_BAD_VERSION;
    if (len > 3 && (bytes[3] < DIRTY_FRAME_REQUEST || bytes[3] > DIRTY_FRAME_END))
        return DIRTY_WIRE_BAD_TYPE;
    return DIRTY_WIRE_MORE;
}

dirty_wire_fault dirty_frame_decode(const uint8_t *bytes, size_t len,
                                    uint32_t max_payload, dirty_frame *out) {
    static const uint8_t start[] = {'D', 'W', DIRTY_WIRE_VERSION};
    if (len < DIRTY_FRAME_HEADER_LEN || memcmp(bytes, start, sizeof start) != 0 ||
        bytes[3] < DIRTY_FRAME_REQUEST || bytes[3] > DIRTY_FRAME_END)
        return judge_start(bytes, len);
    out->type = bytes[3];
    out->payload_len = dirty_get32(bytes + 4);
    out->id = dirty_get64(bytes + 8);
    if (out->type == DIRTY_FRAME_ERROR)
        max_payload = DIRTY_ERROR_PAYLOAD_MAX;
    if (out->payload_len > max_payload)
        return DIRTY_WIRE_TOO_LONG;
    if (out->type == DIRTY_FRAME_END && out->payload_len > 0)
        return DIRTY_WIRE_BAD_LENGTH;
    return DIRTY_WIRE_OK;
}

void dirty_frame_encode(uint8_t out[DIRTY_FRAME_HEADER_LEN], dirty_frame_type type,
                        uint32_t payload_len, uint64_t id) {
    out[0] = 'D';
    out[1] = 'W';
    out[2] = DIRTY_WIRE_VERSION;
    out[3] = (uint8_t)type;
    dirty_put32(out + 4, payload_len);
    dirty_put64(out + 8, id);
}

/* code u16, reserved u16, then two values. */
#define ERROR_FIXED_LEN 4

/* The minimal details. If the code's `started` varies, only the sender could know it. */
static const char *default_details(uint16_t code) {
#define STARTED(name, number, http, started, retry, text) [number] = started,
    static const char *const started_of[] = {DIRTY_ERRORS(STARTED)};
#undef STARTED
    const char *started =
        code < sizeof started_of / sizeof *started_of ? started_of[code] : NULL;
    if (started != NULL && strcmp(started, "no") == 0)
        return "{\"started\":\"no\"}";
    if (started != NULL && strcmp(started, "yes") == 0)
        return "{\"started\":\"yes\"}";
    return "{\"started\":\"unknown\"}";
}

void dirty_error_encode(dirty_buf *out, uint64_t id, uint16_t code, dirty_slice message,
                        const char *details) {
    uint8_t head[DIRTY_FRAME_HEADER_LEN + ERROR_FIXED_LEN];
    dirty_slice d = dirty_slice_cstr(details ? details : default_details(code));
    if (d.len > DIRTY_ERROR_DETAILS_MAX)
        d = dirty_slice_cstr(default_details(code));
    if (message.len > DIRTY_ERROR_MESSAGE_MAX)
        message.len = DIRTY_ERROR_MESSAGE_MAX;
    size_t len = ERROR_FIXED_LEN + 2 * DIRTY_VALUE_HEAD_LEN + message.len + d.len;
    dirty_frame_encode(head, DIRTY_FRAME_ERROR, (uint32_t)len, id);
    dirty_put16(head + DIRTY_FRAME_HEADER_LEN, code);
    dirty_put16(head + DIRTY_FRAME_HEADER_LEN + 2, 0);
    dirty_buf_append(out, head, sizeof head);
    dirty_value_append(out, DIRTY_TAG_BYTES, message.base, (uint32_t)message.len);
    dirty_value_append(out, DIRTY_TAG_JSON, d.base, (uint32_t)d.len);
}

dirty_wire_fault dirty_error_decode(const uint8_t *payload, size_t len,
                                    dirty_error *out) {
    if (len < ERROR_FIXED_LEN)
        return DIRTY_WIRE_TRUNCATED;
    out->code = dirty_get16(payload);
    dirty_value_reader r;
    dirty_value_reader_init(&r, payload + ERROR_FIXED_LEN, len - ERROR_FIXED_LEN, 2);
    dirty_value message, details;
    dirty_wire_fault fault = dirty_value_next(&r, &message);
    if (fault == DIRTY_WIRE_OK)
        fault = dirty_value_next(&r, &details);
    if (fault != DIRTY_WIRE_OK)
        return fault;
    if (message.tag != DIRTY_TAG_BYTES || details.tag != DIRTY_TAG_JSON)
        return DIRTY_WIRE_BAD_TAG;
    out->message = message.bytes;
    out->details = details.bytes;
    return dirty_value_reader_end(&r);
}
