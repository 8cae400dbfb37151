/* request: the struct dirty_request, and how its bytes get to the socket.
 *
 * sendmsg gathers the bytes of a call from where they are: a head, made again for each
 * attempt because the budget shrinks; then, for each value, a 5-byte head and the
 * caller's own memory. Sans-I/O: dirty_outgoing says what to write next, the connection
 * writes it. */
#ifndef DIRTY_CLIENT_REQUEST_H
#define DIRTY_CLIENT_REQUEST_H

#include <sys/uio.h>

#include "base/number.h"
#include "base/slice.h"
#include "dirty.h"
#include "wire/request.h"

typedef struct dirty_arg {
    const char *data; /* borrowed from the caller; NULL: the value is in `text` */
    char text[DIRTY_NUMBER_TEXT_MAX];
    uint32_t len;
    uint8_t head[DIRTY_VALUE_HEAD_LEN];
} dirty_arg;

struct dirty_request {
    char app[DIRTY_NAME_MAX + 1], action[DIRTY_NAME_MAX + 1];
    dirty_slice app_name, action_name; /* slices of the two above */
    uint8_t priority;
    uint32_t budget_ms;  /* 0: the client's timeout_ms */
    int failed;          /* DIRTY_E… of the first failed call; 0: none */
    char why[200];       /* the message for it */
    uint64_t values_len; /* encoded size of metadata and arguments */
    bool has_metadata;
    dirty_arg *args; /* owned; [0] is the metadata or unused */
    uint32_t argc;   /* number of arguments, without metadata */
    uint32_t cap;    /* capacity of args */
};

/* Mark the request as invalid with a message, unless it already is. Returns `code`; `r`
 * may be NULL. */
int dirty_request_refuse(dirty_request *r, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Size of the request's payload, with the deadline extension. */
uint64_t dirty_request_payload_len(const dirty_request *r);

/* Maximum size of header and route. */
#define DIRTY_REQUEST_HEAD_MAX (DIRTY_FRAME_HEADER_LEN + DIRTY_ROUTE_MAX)

typedef struct dirty_outgoing {
    const dirty_request *request;
    size_t head_len;
    size_t sent; /* bytes of the whole frame sent so far */
    size_t part; /* part of the next byte: 0 the head, then head and data of each arg */
    size_t part_sent;
    uint8_t head[DIRTY_REQUEST_HEAD_MAX];
} dirty_outgoing;

/* Start to send `r` as frame `id`. The caller has checked that its payload fits the
 * protocol. deadline_ns is the end of the budget on the runtime's clock. It also covers
 * the time before the server reads the request. */
void dirty_outgoing_init(dirty_outgoing *out, const dirty_request *r, uint64_t id,
                         uint32_t budget_ms, uint64_t deadline_ns);

/* Fill up to `max` pieces with what to send next. Returns their number; 0: all is
 * sent. */
int dirty_outgoing_next(const dirty_outgoing *out, struct iovec *pieces, int max);

/* Count `len` more bytes as sent. */
void dirty_outgoing_advance(dirty_outgoing *out, size_t len);

#endif
