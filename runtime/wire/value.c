#include "wire/value.h"

#include <stdio.h>

#include "base/bytes.h"
#include "wire/json.h"

void dirty_value_reader_init(dirty_value_reader *r, const uint8_t *bytes, size_t len,
                             uint32_t count) {
    r->at = bytes;
    r->end = bytes + len;
    r->left = count;
}

dirty_wire_fault dirty_value_next(dirty_value_reader *r, dirty_value *out) {
    size_t have = (size_t)(r->end - r->at);
    if (have == 0)
        return DIRTY_WIRE_BAD_COUNT;
    out->tag = r->at[0];
    if (out->tag != DIRTY_TAG_BYTES && out->tag != DIRTY_TAG_JSON)
        return DIRTY_WIRE_BAD_TAG;
    if (have < DIRTY_VALUE_HEAD_LEN)
        return DIRTY_WIRE_TRUNCATED;
    size_t len = dirty_get32(r->at + 1);
    if (len > have - DIRTY_VALUE_HEAD_LEN)
        return DIRTY_WIRE_TRUNCATED;
    out->bytes = (dirty_slice){(const char *)r->at + DIRTY_VALUE_HEAD_LEN, len};
    r->at += DIRTY_VALUE_HEAD_LEN + len;
    r->left--;
    return DIRTY_WIRE_OK;
}

dirty_wire_fault dirty_value_reader_end(const dirty_value_reader *r) {
    return r->left == 0 && r->at == r->end ? DIRTY_WIRE_OK : DIRTY_WIRE_BAD_COUNT;
}

void dirty_value_encode_head(uint8_t out[DIRTY_VALUE_HEAD_LEN], dirty_value_tag tag,
                             uint32_t len) {
    out[0] = (uint8_t)tag;
    dirty_put32(out + 1, len);
}

void dirty_value_append(dirty_buf *out, dirty_value_tag tag, const void *data,
                        uint32_t len) {
    uint8_t head[DIRTY_VALUE_HEAD_LEN];
    dirty_value_encode_head(head, tag, len);
    dirty_buf_append(out, head, sizeof head);
    dirty_buf_append(out, data, len);
}

dirty_wire_fault dirty_value_check(const dirty_value *v, uint32_t max_depth,
                                   const char *what, char *why, size_t size) {
    dirty_json_look look;
    char place[160];
    if (v->tag != DIRTY_TAG_JSON || dirty_json_is_valid(v->bytes, max_depth, &look))
        return DIRTY_WIRE_OK;
    snprintf(why, size, "%s is not JSON: %s", what,
             dirty_json_explain(v->bytes, &look, place, sizeof place));
    return DIRTY_WIRE_BAD_JSON;
}

dirty_wire_fault dirty_values_open(const uint8_t *payload, size_t len, uint32_t max_args,
                                   dirty_value_reader *out) {
    if (len < 2)
        return DIRTY_WIRE_TRUNCATED;
    uint32_t count = dirty_get16(payload);
    if (count > max_args)
        return DIRTY_WIRE_TOO_MANY;
    dirty_value_reader_init(out, payload + 2, len - 2, count);
    return DIRTY_WIRE_OK;
}
