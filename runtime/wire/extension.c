#include "wire/extension.h"

#include "base/bytes.h"

#define ENTRY_HEAD_LEN 3
#define DEADLINE_LEN 8

static dirty_wire_fault take_deadline(const uint8_t *value, size_t len,
                                      dirty_extension *out) {
    if (len != DEADLINE_LEN || out->deadline_ns != 0)
        return DIRTY_WIRE_BAD_EXTENSION;
    uint64_t at_ns = dirty_get64(value);
    if (at_ns > DIRTY_DEADLINE_MAX_NS)
        at_ns = DIRTY_DEADLINE_MAX_NS;
    out->deadline_ns = at_ns ? at_ns : 1; /* 0 would mean none */
    return DIRTY_WIRE_OK;
}

dirty_wire_fault dirty_extension_decode(const uint8_t *entries, size_t len,
                                        dirty_extension *out) {
    const uint8_t *at = entries, *end = entries + len;
    *out = (dirty_extension){0};
    while (at < end) {
        if (end - at < ENTRY_HEAD_LEN)
            return DIRTY_WIRE_BAD_EXTENSION;
        uint8_t type = at[0];
        size_t value_len = dirty_get16(at + 1);
        at += ENTRY_HEAD_LEN;
        if (value_len > (size_t)(end - at))
            return DIRTY_WIRE_BAD_EXTENSION;
        if (type == DIRTY_EXTENSION_DEADLINE &&
            take_deadline(at, value_len, out) != DIRTY_WIRE_OK)
            return DIRTY_WIRE_BAD_EXTENSION;
        at += value_len;
    }
    return DIRTY_WIRE_OK;
}

size_t dirty_extension_len(const dirty_extension *extension) {
    return extension->deadline_ns ? DIRTY_EXTENSION_WRITTEN_MAX : 0;
}

void dirty_extension_append(dirty_buf *out, const dirty_extension *extension) {
    uint8_t block[DIRTY_EXTENSION_WRITTEN_MAX];
    if (extension->deadline_ns == 0)
        return;
    dirty_put16(block, ENTRY_HEAD_LEN + DEADLINE_LEN);
    block[2] = DIRTY_EXTENSION_DEADLINE;
    dirty_put16(block + 3, DEADLINE_LEN);
    dirty_put64(block + 5, extension->deadline_ns);
    dirty_buf_append(out, block, sizeof block);
}
