#include "client/reply.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "client/alloc.h"
#include "wire/json.h"

dirty_reply *dirty_reply_new(uint32_t payload_len) {
    dirty_reply *reply = dirty_realloc(NULL, sizeof *reply + (size_t)payload_len + 1);
    if (reply == NULL)
        return NULL;
    reply->count = 0;
    reply->values = reply->few;
    reply->payload_len = payload_len;
    return reply;
}

void dirty_reply_free(dirty_reply *reply) {
    if (reply == NULL)
        return;
    if (reply->values != reply->few)
        dirty_dealloc(reply->values);
    dirty_dealloc(reply);
}

static dirty_wire_fault read_values(dirty_reply *reply, dirty_value_reader *reader) {
    while (reader->left > 0) {
        dirty_wire_fault fault = dirty_value_next(reader, &reply->values[reply->count]);
        if (fault != DIRTY_WIRE_OK)
            return fault;
        reply->count++;
    }
    return dirty_value_reader_end(reader);
}

/* True; or false with the first value that is not JSON described in `why`. */
static bool check_json(const dirty_reply *reply, char *why, size_t size) {
    char what[32];
    for (uint32_t i = 0; i < reply->count; i++) {
        if (reply->values[i].tag != DIRTY_TAG_JSON)
            continue;
        snprintf(what, sizeof what, "value %u", i + 1);
        if (dirty_value_check(&reply->values[i], DIRTY_JSON_DEPTH_MAX, what, why, size) !=
            DIRTY_WIRE_OK)
            return false;
    }
    return true;
}

/* NUL-terminate the values in place. The byte after a value is the next one's tag, which
 * is decoded by now, or the spare byte. */
static void terminate_values(dirty_reply *reply) {
    for (uint32_t i = 0; i < reply->count; i++) {
        dirty_slice bytes = reply->values[i].bytes;
        size_t end = (size_t)(bytes.base - (const char *)reply->payload) + bytes.len;
        reply->payload[end] = '\0';
    }
}

/* Allocate the list if the payload has more than DIRTY_REPLY_FEW values. */
static int make_room(dirty_reply *reply, uint32_t count) {
    if (count <= DIRTY_REPLY_FEW)
        return 0;
    dirty_value *values = dirty_realloc(NULL, count * sizeof *values);
    if (values == NULL)
        return -ENOMEM;
    reply->values = values;
    return 0;
}

static int refuse(dirty_wire_fault fault, char *why, size_t size) {
    snprintf(why, size, "%s", dirty_wire_fault_text(fault));
    return -EPROTO;
}

int dirty_reply_decode(dirty_reply *reply, char *why, size_t size) {
    dirty_value_reader reader;
    dirty_wire_fault fault =
        dirty_values_open(reply->payload, reply->payload_len, UINT16_MAX, &reader);
    /* A count that the payload can't hold must not allocate memory. */
    if (fault == DIRTY_WIRE_OK && reader.left > reply->payload_len / DIRTY_VALUE_HEAD_LEN)
        fault = DIRTY_WIRE_BAD_COUNT;
    if (fault != DIRTY_WIRE_OK)
        return refuse(fault, why, size);
    if (make_room(reply, reader.left) < 0)
        return -ENOMEM;
    fault = read_values(reply, &reader);
    if (fault != DIRTY_WIRE_OK)
        return refuse(fault, why, size);
    if (!check_json(reply, why, size))
        return -EPROTO;
    terminate_values(reply);
    return 0;
}

size_t dirty_reply_count(const dirty_reply *reply) {
    return reply == NULL ? 0 : reply->count;
}

int dirty_reply_value(const dirty_reply *reply, size_t i, const char **data,
                      size_t *len) {
    *data = NULL;
    *len = 0;
    if (reply == NULL || i >= reply->count)
        return 0;
    *data = reply->values[i].bytes.base;
    *len = reply->values[i].bytes.len;
    return reply->values[i].tag;
}
