/* channel: a lane's end of its channel to the arbiter (base/channel.h). It receives one
 * message at a time and keeps it, with its descriptors, until dirty_channel_close. */
#ifndef DIRTY_WORKER_CHANNEL_H
#define DIRTY_WORKER_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/channel.h"

/* The channel and the message that was received last. */
typedef struct dirty_channel {
    int fd;      /* borrowed: the socket to the arbiter */
    int peer_fd; /* owned: the client's connection, also of COPY; -1: none came */
    int file;    /* owned: holds the whole request if the arbiter gathered it; else -1 */
    size_t len;  /* of the message */
    union {
        dirty_msg_dispatch dispatch; /* followed by the request's first bytes */
        dirty_msg_plain plain;
        dirty_msg_connection connection;
        uint8_t bytes[sizeof(dirty_msg_dispatch) + DIRTY_HEAD_BYTES_MAX];
    } message;
} dirty_channel;

/* Wait for the next message. Returns 0; -EPIPE at the end of the channel; -EBADMSG for an
 * invalid message, whose descriptors are closed; or -errno. */
int dirty_channel_receive(dirty_channel *channel);

/* Close the descriptors of the message. Calling it again has no effect. */
void dirty_channel_close(dirty_channel *channel);

/* Send STALLED with the file. Returns as dirty_channel_send does. */
int dirty_channel_send_file(const dirty_channel *channel, const dirty_msg_stalled *m,
                            int file);

/* The first bytes of the request. Valid after a DISPATCH. */
static inline uint8_t *dirty_channel_bytes(dirty_channel *channel) {
    return channel->message.bytes + sizeof(dirty_msg_dispatch);
}

/* Send one message: a head, then `len` bytes (NULL, 0: none). Returns 0; -EPIPE if the
 * arbiter is gone; or -errno. */
int dirty_channel_send(const dirty_channel *channel, const void *head, size_t head_len,
                       const void *bytes, size_t len);

#endif
