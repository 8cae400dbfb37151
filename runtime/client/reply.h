/* reply: the values of one RESPONSE or CHUNK, in one allocation with its payload. */
#ifndef DIRTY_CLIENT_REPLY_H
#define DIRTY_CLIENT_REPLY_H

#include "dirty.h"
#include "wire/value.h"

/* Values that fit without a second allocation. Most replies have no more. */
#define DIRTY_REPLY_FEW 4

struct dirty_reply {
    uint32_t count;
    dirty_value few[DIRTY_REPLY_FEW];
    dirty_value *values; /* few, or owned; the bytes are in payload */
    uint32_t payload_len;
    uint8_t payload[]; /* payload_len bytes and one spare */
};

/* Allocate a reply with room for a payload. NULL if there is no memory. */
dirty_reply *dirty_reply_new(uint32_t payload_len);

/* Decode the payload: find its values and check the JSON ones. Returns 0; -ENOMEM; or
 * -EPROTO with the reason in `why`. */
int dirty_reply_decode(dirty_reply *reply, char *why, size_t size);

#endif
