/* arrival: a request on its way into the lane, from the first bytes that came with its
 * DISPATCH to a call that the host can run.
 *
 * A small request is there whole and stays where it was received. Of a large one the rest
 * is read here, into a buffer behind its first bytes, or, where a long string is cut by
 * the end of those, that string into the host's seat, and only what follows it into the
 * buffer:
 *
 *   first bytes: header · route · values · head of the string and its first bytes
 *   seat:        the string           buffer: the values after it
 */
#ifndef DIRTY_WORKER_REQUEST_READER_H
#define DIRTY_WORKER_REQUEST_READER_H

#include "base/buf.h"
#include "base/worker_start.h"
#include "wire/fault.h"
#include "worker/call.h"
#include "worker/channel.h"
#include "worker/lua_host.h"

/* Embedded in the lane, which zeroes it and sets what is borrowed. */
typedef struct dirty_request_reader {
    dirty_host *host;                /* borrowed */
    const dirty_wire_limits *limits; /* borrowed */
    dirty_lane_page *page;           /* borrowed */
    uint32_t patience_ms;            /* the most it waits for bytes at a time */
    dirty_buf buffer;                /* owned */
    const uint8_t *front;            /* the bytes up to the seat, or all of them */
    size_t front_len;
    size_t have; /* bytes of the request that are here */
    char *seat;  /* the host's, NULL: none */
    size_t seat_len;
    uint64_t credit_ns; /* how long it may still wait for bytes of this request */
} dirty_request_reader;

/* Read what is missing of the request in `in`, never past its end. 0, -ETIMEDOUT (the
 * time to receive it, or the call's own), -ECANCELED (the arbiter has answered), -ENOMEM,
 * -ENODATA (the peer has ended its sending side), -EINPROGRESS (its sender is slow, and
 * there is no more to be had for now), -errno of the connection. */
int dirty_request_reader_read(dirty_request_reader *a, dirty_channel *in);

/* After -EINPROGRESS: a new file in memory with the bytes that are here. Its descriptor,
 * or -errno. */
int dirty_request_reader_save(const dirty_request_reader *a);

/* Fill id, action and arguments of `call` from what is here: even a request that did not
 * come whole has an id to answer to. OK; MORE: it is not whole; or what is wrong with it,
 * and `argument` the number of the wrong one, 0: none of them. */
dirty_wire_fault dirty_request_reader_parse(dirty_request_reader *a, dirty_call *call,
                                            uint32_t *argument);

/* The request is done: keep the buffer, unless it is too large. */
void dirty_request_reader_end(dirty_request_reader *a);

void dirty_request_reader_deinit(dirty_request_reader *a);

#endif
