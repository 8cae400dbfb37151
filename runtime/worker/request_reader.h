/* request_reader: reads one request, from the first bytes that came with its DISPATCH to
 * a call that the host can run.
 *
 * A small request is complete already and stays where it was received. The rest of a
 * large one is read into a buffer, behind a copy of its first bytes. But if the first
 * bytes end within a long string, that string is read into the host's seat
 * (dirty_host_seat), which saves a copy, and only what follows it into the buffer:
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

/* The lane embeds it, zeroes it and sets what is borrowed. */
typedef struct dirty_request_reader {
    dirty_host *host;                /* borrowed */
    const dirty_wire_limits *limits; /* borrowed */
    dirty_lane_page *page;           /* borrowed */
    uint32_t patience_ms;            /* limit of credit_ns, in ms */
    dirty_buf buffer;                /* owned */
    const uint8_t *front;            /* the bytes before the seat, or all of them */
    size_t front_len;
    size_t have; /* received bytes of the request */
    char *seat;  /* borrowed from the host; NULL: none */
    size_t seat_len;
    uint64_t credit_ns; /* how long it may still wait for bytes */
} dirty_request_reader;

/* Read the rest of the request, never beyond its end. Returns 0; -ETIMEDOUT (the time to
 * receive it or the call's deadline is over); -ECANCELED (the arbiter has answered);
 * -ENOMEM; -ENODATA (the peer has shut down its sending side); -EINPROGRESS (the sender
 * is slow and the credit is used up); or -errno of the connection. */
int dirty_request_reader_read(dirty_request_reader *r, dirty_channel *channel);

/* Take a request that is whole already: `len` bytes at `bytes`, borrowed until its end.
 */
void dirty_request_reader_take(dirty_request_reader *r, const uint8_t *bytes, size_t len);

/* After -EINPROGRESS: write the received bytes to a new file in memory. Returns its
 * descriptor, owned by the caller, or -errno. */
int dirty_request_reader_save(const dirty_request_reader *r);

/* Fill id, action and arguments of `call` from the received bytes. Also for a request
 * that is incomplete: its answer needs the id. Returns OK; MORE if it is incomplete; or
 * what is wrong with it, with the number of the wrong argument in `argument`, 0: none of
 * them. */
dirty_wire_fault dirty_request_reader_parse(dirty_request_reader *r, dirty_call *call,
                                            uint32_t *argument);

/* End the request. Frees the buffer if it is too large to keep. */
void dirty_request_reader_end(dirty_request_reader *r);

void dirty_request_reader_deinit(dirty_request_reader *r);

#endif
