/* inbox: a lane's end of its channel to the arbiter (base/channel.h). */
#ifndef DIRTY_WORKER_CHANNEL_H
#define DIRTY_WORKER_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/channel.h"

/* One received message: DISPATCH with its bytes and descriptor, or STOP. */
typedef struct dirty_channel {
    int channel;    /* borrowed */
    int descriptor; /* owned: the client's; -1: none came */
    int file;       /* owned: with the whole request, where it was gathered; else -1 */
    size_t len;     /* of the message */
    union {
        dirty_msg_dispatch dispatch; /* `bytes` after it are the request's first */
        dirty_msg_plain plain;
        uint8_t bytes[sizeof(dirty_msg_dispatch) + DIRTY_HEAD_BYTES_MAX];
    } message;
} dirty_channel;

/* Wait for the next message. 0; -EPIPE at the end of the channel; -EBADMSG for one that
 * is none (the descriptor is closed); -errno. */
int dirty_channel_receive(dirty_channel *in);

/* Close the descriptors of the message. Idempotent. */
void dirty_channel_close(dirty_channel *in);

/* Send a STALLED with the file. As dirty_channel_send. */
int dirty_channel_send_file(const dirty_channel *in, const dirty_msg_stalled *m,
                            int file);

/* The first bytes of the request of a DISPATCH. */
static inline uint8_t *dirty_channel_bytes(dirty_channel *in) {
    return in->message.bytes + sizeof(dirty_msg_dispatch);
}

/* Send one message: a head, and `len` bytes that follow it (NULL, 0: none). 0 or -errno;
 * -EPIPE when the arbiter is gone. */
int dirty_channel_send(const dirty_channel *in, const void *head, size_t head_len,
                       const void *bytes, size_t len);

#endif
