#include "wire/request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"

#define ALL_BYTES(b) (0x0101010101010101ull * (b))

/* Are all 8 bytes in 0x21..0x7e? A carry out of a byte needs a wrong byte below, so the
 * lowest wrong byte always shows. */
static bool eight_are_printable(const char *bytes) {
    uint64_t w;
    memcpy(&w, bytes, sizeof w);
    return (((w - ALL_BYTES(0x21)) | (w + ALL_BYTES(1)) | w) & ALL_BYTES(0x80)) == 0;
}

/* Every request passes here twice, so long texts are checked 8 bytes at a time; the last
 * 8 may overlap those before. */
static bool is_printable(const char *text, size_t len) {
    size_t i = 0;
    if (len >= 8) {
        for (; i + 8 < len; i += 8)
            if (!eight_are_printable(text + i))
                return false;
        return eight_are_printable(text + len - 8);
    }
    for (; i < len; i++)
        if (text[i] < 0x21 || text[i] > 0x7e)
            return false;
    return true;
}

static bool name_is_valid(dirty_slice name) {
    return name.len > 0 && name.len <= DIRTY_NAME_MAX &&
           is_printable(name.base, name.len);
}

/* Read the extension block; its length field is at `at` and has been received. */
static dirty_wire_fault take_extension(const uint8_t *payload, size_t have,
                                       size_t payload_len, dirty_route *out) {
    size_t at = out->values_at + DIRTY_EXTENSION_HEAD_LEN;
    if (have < at)
        return DIRTY_WIRE_MORE;
    size_t len = dirty_get16(payload + out->values_at);
    if (len > payload_len - at)
        return DIRTY_WIRE_TRUNCATED;
    if (len > DIRTY_EXTENSION_MAX)
        return DIRTY_WIRE_BAD_EXTENSION;
    if (have < at + len)
        return DIRTY_WIRE_MORE;
    out->values_at = at + len;
    return dirty_extension_decode(payload + at, len, &out->extension);
}

dirty_wire_fault dirty_route_decode(const uint8_t *payload, size_t have,
                                    size_t payload_len, dirty_route *out) {
    if (have > payload_len) /* the rest belongs to the next message */
        have = payload_len;
    if (have < DIRTY_ROUTE_FIXED_LEN)
        return payload_len < DIRTY_ROUTE_FIXED_LEN ? DIRTY_WIRE_TRUNCATED
                                                   : DIRTY_WIRE_MORE;
    out->budget_ms = dirty_get32(payload);
    out->priority = payload[4];
    out->flags = payload[5];
    out->argc = dirty_get16(payload + 6);
    size_t app_len = payload[8], action_len = payload[9];
    if (out->priority > DIRTY_PRIORITY_LAST)
        return DIRTY_WIRE_BAD_PRIORITY;
    if (out->flags & ~DIRTY_FLAGS_KNOWN)
        return DIRTY_WIRE_BAD_FLAGS;
    if (app_len == 0 || action_len == 0)
        return DIRTY_WIRE_BAD_NAME;
    bool extended = out->flags & DIRTY_FLAG_EXTENSION;
    size_t names_end = DIRTY_ROUTE_FIXED_LEN + app_len + action_len;
    if (names_end + (extended ? DIRTY_EXTENSION_HEAD_LEN : 0) > payload_len)
        return DIRTY_WIRE_TRUNCATED;
    if (have < names_end)
        return DIRTY_WIRE_MORE;
    const char *names = (const char *)payload + DIRTY_ROUTE_FIXED_LEN;
    out->app = (dirty_slice){names, app_len};
    out->action = (dirty_slice){names + app_len, action_len};
    out->values_at = names_end;
    if (!is_printable(names, app_len + action_len))
        return DIRTY_WIRE_BAD_NAME;
    out->extension = (dirty_extension){0};
    return extended ? take_extension(payload, have, payload_len, out) : DIRTY_WIRE_OK;
}

bool dirty_request_is_whole(const uint8_t *bytes, size_t len, uint32_t max_message,
                            dirty_frame *frame, dirty_route *route) {
    return dirty_frame_decode(bytes, len, max_message, frame) == DIRTY_WIRE_OK &&
           frame->type == DIRTY_FRAME_REQUEST &&
           len == DIRTY_FRAME_HEADER_LEN + (size_t)frame->payload_len &&
           dirty_route_decode(bytes + DIRTY_FRAME_HEADER_LEN, frame->payload_len,
                              frame->payload_len, route) == DIRTY_WIRE_OK;
}

static uint64_t plus_ms(uint64_t at_ns, uint32_t ms) {
    return ms ? at_ns + ms * DIRTY_NS_PER_MS : 0;
}

uint64_t dirty_route_deadline_ns(const dirty_route *route, uint64_t arrived_ns,
                                 uint32_t timeout_ms) {
    uint64_t at_ns = dirty_earlier_ns(plus_ms(arrived_ns, route->budget_ms),
                                      route->extension.deadline_ns);
    return dirty_earlier_ns(plus_ms(arrived_ns, timeout_ms), at_ns);
}

dirty_wire_fault dirty_request_open(const uint8_t *payload, size_t payload_len,
                                    const dirty_route *route, uint32_t max_args,
                                    dirty_slice *metadata, dirty_value_reader *args) {
    bool has_metadata = route->flags & DIRTY_FLAG_METADATA;
    *metadata = (dirty_slice){NULL, 0};
    if (route->argc > max_args)
        return DIRTY_WIRE_TOO_MANY;
    dirty_value_reader_init(args, payload + route->values_at,
                            payload_len - route->values_at,
                            (uint32_t)route->argc + has_metadata);
    if (!has_metadata)
        return DIRTY_WIRE_OK;
    dirty_value value;
    dirty_wire_fault fault = dirty_value_next(args, &value);
    if (fault != DIRTY_WIRE_OK)
        return fault;
    if (value.tag != DIRTY_TAG_JSON)
        return DIRTY_WIRE_BAD_TAG;
    *metadata = value.bytes;
    return DIRTY_WIRE_OK;
}

static dirty_wire_fault say(dirty_wire_fault fault, char *why, size_t size) {
    snprintf(why, size, "%s", dirty_wire_fault_text(fault));
    return fault;
}

/* Take one value and check that it is what its tag says. */
static dirty_wire_fault check_next(dirty_value_reader *args, uint32_t n,
                                   uint32_t max_depth, char *why, size_t size) {
    dirty_value v;
    char what[32];
    dirty_wire_fault fault = dirty_value_next(args, &v);
    if (fault != DIRTY_WIRE_OK)
        return say(fault, why, size);
    snprintf(what, sizeof what, "argument %u", n);
    return dirty_value_check(&v, max_depth, what, why, size);
}

dirty_wire_fault dirty_request_check(dirty_slice payload, const dirty_route *route,
                                     uint32_t max_args, uint32_t max_depth, char *why,
                                     size_t size) {
    dirty_value_reader args;
    dirty_value metadata = {.tag = DIRTY_TAG_JSON};
    dirty_wire_fault fault =
        dirty_request_open((const uint8_t *)payload.base, payload.len, route, max_args,
                           &metadata.bytes, &args);
    if (fault != DIRTY_WIRE_OK)
        return say(fault, why, size);
    if (metadata.bytes.base != NULL)
        fault = dirty_value_check(&metadata, max_depth, "the metadata", why, size);
    for (uint32_t n = 1; fault == DIRTY_WIRE_OK && args.left > 0; n++)
        fault = check_next(&args, n, max_depth, why, size);
    if (fault != DIRTY_WIRE_OK)
        return fault;
    fault = dirty_value_reader_end(&args);
    return fault == DIRTY_WIRE_OK ? fault : say(fault, why, size);
}

int dirty_request_encode_head(dirty_buf *out, uint64_t id, const dirty_route *route,
                              size_t values_len) {
    size_t extension_len = dirty_extension_len(&route->extension);
    size_t route_len =
        DIRTY_ROUTE_FIXED_LEN + route->app.len + route->action.len + extension_len;
    if (!name_is_valid(route->app) || !name_is_valid(route->action) ||
        route->priority > DIRTY_PRIORITY_LAST || route->flags & ~DIRTY_FLAGS_KNOWN ||
        values_len > UINT32_MAX - route_len)
        return -EINVAL;
    uint8_t head[DIRTY_FRAME_HEADER_LEN + DIRTY_ROUTE_FIXED_LEN];
    dirty_frame_encode(head, DIRTY_FRAME_REQUEST, (uint32_t)(route_len + values_len), id);
    uint8_t *p = head + DIRTY_FRAME_HEADER_LEN;
    dirty_put32(p, route->budget_ms);
    p[4] = route->priority;
    p[5] = (uint8_t)((route->flags & ~DIRTY_FLAG_EXTENSION) |
                     (extension_len > 0 ? DIRTY_FLAG_EXTENSION : 0));
    dirty_put16(p + 6, route->argc);
    p[8] = (uint8_t)route->app.len;
    p[9] = (uint8_t)route->action.len;
    dirty_buf_append(out, head, sizeof head);
    dirty_buf_append(out, route->app.base, route->app.len);
    dirty_buf_append(out, route->action.base, route->action.len);
    dirty_extension_append(out, &route->extension);
    return 0;
}
