/* reply: the values of one RESPONSE, in one piece of memory of exactly its size. */
#ifndef DIRTY_CLIENT_REPLY_H
#define DIRTY_CLIENT_REPLY_H

#include "dirty.h"
#include "wire/value.h"

/* Values of most replies: for more the list is a second allocation. */
#define DIRTY_REPLY_FEW 4

struct dirty_reply {
    uint32_t count;
    dirty_value few[DIRTY_REPLY_FEW];
    dirty_value *values; /* few, or owned; bytes are in payload */
    uint32_t payload_len;
    uint8_t payload[]; /* payload_len bytes and a spare one */
};

/* Room for a payload that is to be read into it; NULL if there is no memory. */
dirty_reply *dirty_reply_new(uint32_t payload_len);

/* With the payload there: find its values, and see that those of JSON are. 0; -ENOMEM; or
 * -EPROTO with what is wrong in `why`. */
int dirty_reply_decode(dirty_reply *reply, char *why, size_t size);

#endif
