/* request: what a dirty_request holds, and the way of its bytes to the socket.
 *
 * The bytes of a call are gathered from where they lie: a head that is made for each
 * attempt (the budget shrinks), then a 5-byte head and the caller's own memory for each
 * value. Sans-I/O: dirty_outgoing says what to write next, the connection writes it. */
#ifndef DIRTY_CLIENT_REQUEST_H
#define DIRTY_CLIENT_REQUEST_H

#include <sys/uio.h>

#include "base/number.h"
#include "base/slice.h"
#include "dirty.h"
#include "wire/request.h"

typedef struct dirty_arg {
    const char *data; /* borrowed from the caller; NULL: the bytes are in `text` */
    char text[DIRTY_NUMBER_TEXT_MAX];
    uint32_t len;
    uint8_t head[DIRTY_VALUE_HEAD_LEN];
} dirty_arg;

struct dirty_request {
    char app[DIRTY_NAME_MAX + 1], action[DIRTY_NAME_MAX + 1];
    dirty_slice app_name, action_name; /* the two above */
    uint8_t priority;
    uint32_t budget_ms;  /* 0: the client's */
    int failed;          /* DIRTY_E… of the first add that failed, 0: none */
    char why[200];       /* words for it */
    uint64_t values_len; /* encoded bytes of metadata and arguments */
    bool has_metadata;
    dirty_arg *args; /* owned; [0] is the metadata, or unused */
    uint32_t argc;   /* arguments, metadata not counted */
    uint32_t cap;    /* of args */
};

/* Remember that it can't be sent, if it is the first time, and why. Returns `code`; r may
 * be NULL. */
int dirty_request_refuse(dirty_request *r, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Payload bytes of the request, with the deadline that goes with it. */
uint64_t dirty_request_payload_len(const dirty_request *r);

/* Header and route at their longest. */
#define DIRTY_REQUEST_HEAD_MAX (DIRTY_FRAME_HEADER_LEN + DIRTY_ROUTE_MAX)

typedef struct dirty_outgoing {
    const dirty_request *request;
    size_t head_len;
    size_t sent; /* bytes of the whole frame */
    size_t
        part; /* where the next byte lies: 0 the head, then head and data of each arg */
    size_t part_sent;
    uint8_t head[DIRTY_REQUEST_HEAD_MAX];
} dirty_outgoing;

/* Begin to send r as frame `id`. Its payload must fit the protocol (checked before).
 * deadline_ns is the budget's end on the runtime's clock: it counts what the request
 * waits before the server reads it. */
void dirty_outgoing_init(dirty_outgoing *out, const dirty_request *r, uint64_t id,
                         uint32_t budget_ms, uint64_t deadline_ns);

/* Fill up to `max` pieces with what comes next; how many, 0: all is sent. */
int dirty_outgoing_next(const dirty_outgoing *out, struct iovec *pieces, int max);

/* Count `len` further bytes as sent. */
void dirty_outgoing_advance(dirty_outgoing *out, size_t len);

#endif
