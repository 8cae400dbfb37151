#include "walk.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

walk_limits walk_defaults(bool server) {
    return (walk_limits){server, DIRTY_MAX_MESSAGE_DEFAULT, DIRTY_MAX_ARGS_DEFAULT};
}

static dirty_wire_fault walk_values(dirty_value_reader *reader, walked *out) {
    assert(reader->left <= WALK_VALUES_MAX);
    while (reader->left > 0) {
        dirty_wire_fault fault = dirty_value_next(reader, &out->values[out->count]);
        if (fault != DIRTY_WIRE_OK)
            return fault;
        out->count++;
    }
    return dirty_value_reader_end(reader);
}

static dirty_wire_fault walk_request(const uint8_t *payload, size_t have,
                                     const walk_limits *limits, walked *out) {
    size_t len = out->frame.payload_len;
    dirty_value_reader reader;
    dirty_wire_fault fault = dirty_route_decode(payload, have, len, &out->route);
    if (fault != DIRTY_WIRE_OK)
        return fault;
    if (have < len)
        return DIRTY_WIRE_MORE;
    fault = dirty_request_open(payload, len, &out->route, limits->max_args,
                               &out->metadata, &reader);
    return fault == DIRTY_WIRE_OK ? walk_values(&reader, out) : fault;
}

static dirty_wire_fault walk_answer(const uint8_t *payload, size_t have,
                                    const walk_limits *limits, walked *out) {
    size_t len = out->frame.payload_len;
    dirty_value_reader reader;
    if (have < len)
        return DIRTY_WIRE_MORE;
    if (out->frame.type == DIRTY_FRAME_END)
        return DIRTY_WIRE_OK;
    if (out->frame.type == DIRTY_FRAME_ERROR)
        return dirty_error_decode(payload, len, &out->error);
    dirty_wire_fault fault = dirty_values_open(payload, len, limits->max_args, &reader);
    return fault == DIRTY_WIRE_OK ? walk_values(&reader, out) : fault;
}

dirty_wire_fault walk(const uint8_t *bytes, size_t len, const walk_limits *limits,
                      walked *out) {
    memset(&out->frame, 0, sizeof out->frame);
    memset(&out->error, 0, sizeof out->error);
    out->metadata = (dirty_slice){NULL, 0};
    out->count = 0;
    dirty_wire_fault fault =
        dirty_frame_decode(bytes, len, limits->max_message, &out->frame);
    if (fault != DIRTY_WIRE_OK)
        return fault;
    bool is_request = out->frame.type == DIRTY_FRAME_REQUEST;
    if (is_request != limits->server)
        return DIRTY_WIRE_BAD_TYPE;
    const uint8_t *payload = bytes + DIRTY_FRAME_HEADER_LEN;
    size_t have = len - DIRTY_FRAME_HEADER_LEN;
    if (is_request)
        return walk_request(payload, have, limits, out); /* `have` may go past its end */
    return walk_answer(payload, have, limits, out);
}

static void append_values(const walked *w, dirty_buf *out) {
    for (size_t i = 0; i < w->count; i++)
        dirty_value_append(out, (dirty_value_tag)w->values[i].tag,
                           w->values[i].bytes.base, (uint32_t)w->values[i].bytes.len);
}

static void encode_request(const walked *w, dirty_buf *out) {
    dirty_buf values = {0};
    if (w->route.flags & DIRTY_FLAG_METADATA)
        dirty_value_append(&values, DIRTY_TAG_JSON, w->metadata.base,
                           (uint32_t)w->metadata.len);
    append_values(w, &values);
    int rc = dirty_request_encode_head(out, w->frame.id, &w->route, values.len);
    assert(rc == 0);
    (void)rc;
    dirty_buf_append(out, values.base, values.len);
    dirty_buf_deinit(&values);
}

static void encode_error(const walked *w, dirty_buf *out) {
    dirty_buf details = {0};
    dirty_buf_append(&details, w->error.details.base, w->error.details.len);
    dirty_buf_append(&details, "", 1);
    dirty_error_encode(out, w->frame.id, w->error.code, w->error.message,
                       (const char *)details.base);
    dirty_buf_deinit(&details);
}

static void encode_values(const walked *w, dirty_buf *out) {
    uint8_t head[DIRTY_FRAME_HEADER_LEN + 2];
    size_t len = 2;
    for (size_t i = 0; i < w->count; i++)
        len += DIRTY_VALUE_HEAD_LEN + w->values[i].bytes.len;
    dirty_frame_encode(head, (dirty_frame_type)w->frame.type, (uint32_t)len, w->frame.id);
    dirty_put16(head + DIRTY_FRAME_HEADER_LEN, (uint16_t)w->count);
    dirty_buf_append(out, head, sizeof head);
    append_values(w, out);
}

void walk_encode(const walked *w, dirty_buf *out) {
    uint8_t head[DIRTY_FRAME_HEADER_LEN];
    switch ((dirty_frame_type)w->frame.type) {
    case DIRTY_FRAME_REQUEST: encode_request(w, out); break;
    case DIRTY_FRAME_RESPONSE:
    case DIRTY_FRAME_CHUNK: encode_values(w, out); break;
    case DIRTY_FRAME_ERROR: encode_error(w, out); break;
    case DIRTY_FRAME_END:
        dirty_frame_encode(head, DIRTY_FRAME_END, 0, w->frame.id);
        dirty_buf_append(out, head, sizeof head);
        break;
    }
}

static bool is_inside(dirty_slice s, const uint8_t *bytes, size_t len) {
    const uint8_t *base = (const uint8_t *)s.base;
    return s.base == NULL ||
           (base >= bytes && s.len <= len && base <= bytes + len - s.len);
}

bool walk_is_inside(const walked *w, const uint8_t *bytes, size_t len) {
    bool inside = is_inside(w->metadata, bytes, len) &&
                  is_inside(w->error.message, bytes, len) &&
                  is_inside(w->error.details, bytes, len);
    if (w->frame.type == DIRTY_FRAME_REQUEST)
        inside = inside && is_inside(w->route.app, bytes, len) &&
                 is_inside(w->route.action, bytes, len);
    for (size_t i = 0; i < w->count; i++)
        inside = inside && is_inside(w->values[i].bytes, bytes, len);
    return inside;
}

/* Is the block of extensions, if there is one, the one that we would write? */
static bool extension_is_canonical(const walked *w, const uint8_t *payload) {
    const dirty_route *route = &w->route;
    size_t at = DIRTY_ROUTE_FIXED_LEN + route->app.len + route->action.len;
    dirty_buf again = {0};
    dirty_extension_append(&again, &route->extension);
    bool same = route->values_at - at == again.len &&
                (again.len == 0 || memcmp(payload + at, again.base, again.len) == 0);
    dirty_buf_deinit(&again);
    return same;
}

bool walk_is_canonical(const walked *w, const uint8_t *bytes) {
    if (w->frame.type == DIRTY_FRAME_REQUEST)
        return extension_is_canonical(w, bytes + DIRTY_FRAME_HEADER_LEN);
    if (w->frame.type != DIRTY_FRAME_ERROR)
        return true;
    return dirty_get16(bytes + DIRTY_FRAME_HEADER_LEN + 2) == 0 &&
           w->error.message.len <= DIRTY_ERROR_MESSAGE_MAX &&
           w->error.details.len <= DIRTY_ERROR_DETAILS_MAX &&
           memchr(w->error.details.base, '\0', w->error.details.len) == NULL;
}
