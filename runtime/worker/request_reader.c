#include "worker/request_reader.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "wire/frame.h"
#include "wire/request.h"
#include "worker/peer.h"

/* A buffer of at most this size is kept for the next request, which finds it warm. */
#define KEEP_BYTES (2u << 20)
/* How long a wait for more bytes lasts before the baton is looked at again. */
#define LOOK_UP_MS 250
/* What a byte that came is worth in waiting for the next: a sender of 4 MB/s keeps its
 * lane. One that fills its socket again and again is faster, on a busy machine, too. */
#define CREDIT_NS_PER_BYTE 250

/* -- Reading ----------------------------------------------------------------------- */

/* Waiting is paid for: by a loan where nobody else waits for a lane, and by bytes. */
static void open_credit(dirty_request_reader *a, const dirty_msg_dispatch *d) {
    a->credit_ns = d->others_wait ? 0 : a->patience_ms * DIRTY_NS_PER_MS;
}

static void earn(dirty_request_reader *a, size_t bytes) {
    uint64_t most_ns = a->patience_ms * DIRTY_NS_PER_MS;
    a->credit_ns += bytes * CREDIT_NS_PER_BYTE;
    if (a->credit_ns > most_ns)
        a->credit_ns = most_ns;
}

static void pay(dirty_request_reader *a, uint64_t waited_ns) {
    a->credit_ns -= waited_ns < a->credit_ns ? waited_ns : a->credit_ns;
}

/* Read `len` bytes to `to`, which is of the request's bytes behind those that are here.
 */
static int read_to(dirty_request_reader *a, const dirty_channel *in, void *to,
                   size_t len) {
    const dirty_msg_dispatch *d = &in->message.dispatch;
    uint64_t deadline_ns = dirty_earlier_ns(d->recv_deadline_ns, d->deadline_ns);
    for (size_t got = 0; got < len;) {
        if (dirty_baton_read(a->page, d->seq) != DIRTY_BATON_READING)
            return -ECANCELED;
        uint64_t now_ns = dirty_now_ns(), waited_ns = 0;
        bool late = deadline_ns != 0 && now_ns >= deadline_ns;
        int wait_ms =
            dirty_ms_until(dirty_earlier_ns(deadline_ns, now_ns + a->credit_ns), now_ns);
        /* What is here already came in time. */
        ssize_t n =
            dirty_peer_read(in->descriptor, (char *)to + got, len - got,
                            wait_ms < LOOK_UP_MS ? wait_ms : LOOK_UP_MS, &waited_ns);
        pay(a, waited_ns);
        if (n == -EAGAIN && late)
            return -ETIMEDOUT;
        if (n == -EAGAIN && a->credit_ns == 0)
            return -EINPROGRESS;
        if (n < 0 && n != -EAGAIN)
            return (int)n;
        if (n > 0) {
            got += (size_t)n;
            a->have += (size_t)n;
            earn(a, (size_t)n);
        }
    }
    return 0;
}

/* Read the whole request into the buffer. */
static int gather(dirty_request_reader *a, const dirty_channel *in) {
    const dirty_msg_dispatch *d = &in->message.dispatch;
    a->buffer.len = 0;
    if (dirty_buf_reserve(&a->buffer, d->frame_len) < 0)
        return -ENOMEM;
    dirty_buf_append(&a->buffer, a->front, a->have);
    a->front = a->buffer.base;
    a->front_len = d->frame_len;
    return read_to(a, in, a->buffer.base + a->have, d->frame_len - a->have);
}

/* The length of the string that the first bytes end within, 0 if there is none; `at` is
 * where its first byte is. */
static size_t find_cut_string(const dirty_request_reader *a, size_t frame_len,
                              size_t *at) {
    const uint8_t *payload = a->front + DIRTY_FRAME_HEADER_LEN;
    dirty_route route;
    dirty_slice metadata;
    dirty_value_reader values;
    dirty_value value;
    if (a->have < DIRTY_FRAME_HEADER_LEN)
        return 0;
    size_t have = a->have - DIRTY_FRAME_HEADER_LEN;
    if (dirty_route_decode(payload, have, frame_len - DIRTY_FRAME_HEADER_LEN, &route) !=
            DIRTY_WIRE_OK ||
        dirty_request_open(payload, have, &route, a->limits->max_args, &metadata,
                           &values) != DIRTY_WIRE_OK)
        return 0;
    while (values.left > 0 && dirty_value_next(&values, &value) == DIRTY_WIRE_OK)
        continue;
    if (values.left == 0 || (size_t)(values.end - values.at) < DIRTY_VALUE_HEAD_LEN ||
        values.at[0] != DIRTY_TAG_BYTES)
        return 0;
    size_t len = dirty_get32(values.at + 1);
    *at = (size_t)(values.at - a->front) + DIRTY_VALUE_HEAD_LEN;
    return len <= frame_len - *at ? len : 0;
}

/* Read the string of `len` bytes at `at` into the seat, what follows into the buffer. */
static int read_seated(dirty_request_reader *a, const dirty_channel *in, size_t at,
                       size_t len) {
    const dirty_msg_dispatch *d = &in->message.dispatch;
    size_t after = d->frame_len - at - len, first = a->have - at;
    a->buffer.len = 0;
    if (dirty_buf_reserve(&a->buffer, after) < 0)
        return -ENOMEM;
    memcpy(a->seat, a->front + at, first);
    a->seat_len = len;
    a->front_len = at - DIRTY_VALUE_HEAD_LEN;
    int rc = read_to(a, in, a->seat + first, len - first);
    if (rc == 0)
        rc = read_to(a, in, a->buffer.base, after);
    if (rc == 0)
        a->buffer.len = after;
    return rc;
}

/* Read the whole request from the file that it was gathered in. */
static int load(dirty_request_reader *a, const dirty_channel *in) {
    uint32_t len = in->message.dispatch.frame_len;
    a->buffer.len = 0;
    if (dirty_buf_reserve(&a->buffer, len) < 0)
        return -ENOMEM;
    while (a->have < len) {
        ssize_t n =
            pread(in->file, a->buffer.base + a->have, len - a->have, (off_t)a->have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        a->have += (size_t)n;
    }
    a->front = a->buffer.base;
    a->front_len = len;
    return 0;
}

int dirty_request_reader_read(dirty_request_reader *a, dirty_channel *in) {
    const dirty_msg_dispatch *d = &in->message.dispatch;
    a->front = dirty_channel_bytes(in);
    a->front_len = a->have = d->have_len;
    a->seat = NULL;
    open_credit(a, d);
    if (d->gathered)
        return load(a, in);
    if (a->have == d->frame_len)
        return 0;
    size_t at = 0, len = find_cut_string(a, d->frame_len, &at);
    if (len > 0)
        a->seat = dirty_host_seat(a->host, len);
    return a->seat != NULL ? read_seated(a, in, at, len) : gather(a, in);
}

/* -- Giving back ------------------------------------------------------------------- */

static int write_all(int fd, const void *bytes, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, (const char *)bytes + done, len - done);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

int dirty_request_reader_save(const dirty_request_reader *a) {
    int fd = memfd_create("dirty request", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    size_t front = a->have, seat = 0;
    if (a->seat != NULL) {
        front = a->front_len + DIRTY_VALUE_HEAD_LEN;
        seat = a->have - front < a->seat_len ? a->have - front : a->seat_len;
    }
    int rc = write_all(fd, a->front, front);
    if (rc == 0 && a->seat != NULL)
        rc = write_all(fd, a->seat, seat);
    if (rc == 0 && a->seat != NULL)
        rc = write_all(fd, a->buffer.base, a->have - front - seat);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

/* -- Parsing ----------------------------------------------------------------------- */

/* Take all values off the reader; `argument` counts them, 0: it is none of them. */
static dirty_wire_fault walk(dirty_value_reader values, uint32_t *argument) {
    dirty_value value;
    for (; values.left > 0; ++*argument) {
        dirty_wire_fault fault = dirty_value_next(&values, &value);
        if (fault != DIRTY_WIRE_OK)
            return fault;
    }
    dirty_wire_fault fault = dirty_value_reader_end(&values);
    if (fault != DIRTY_WIRE_OK)
        *argument = 0;
    return fault;
}

/* Where the seat cuts the arguments in two. */
static void cut(const dirty_request_reader *a, dirty_call *call) {
    dirty_value_reader front = call->args;
    dirty_value value;
    uint32_t before = 0;
    while (front.at < front.end && dirty_value_next(&front, &value) == DIRTY_WIRE_OK)
        before++;
    call->seated = true;
    call->args.left = before;
    dirty_value_reader_init(&call->rest, a->buffer.base, a->buffer.len,
                            call->argc - before - 1);
}

/* Walk the arguments once, so that the host meets good values only. */
static dirty_wire_fault check(const dirty_request_reader *a, dirty_call *call,
                              uint32_t *argument) {
    *argument = 1;
    if (a->seat != NULL)
        cut(a, call);
    dirty_wire_fault fault = walk(call->args, argument);
    if (fault == DIRTY_WIRE_OK && call->seated) {
        ++*argument;
        fault = walk(call->rest, argument);
    }
    return fault;
}

dirty_wire_fault dirty_request_reader_parse(dirty_request_reader *a, dirty_call *call,
                                            uint32_t *argument) {
    dirty_frame frame;
    dirty_route route;
    size_t have = a->front_len < a->have ? a->front_len : a->have;
    *argument = 0;
    dirty_wire_fault fault =
        dirty_frame_decode(a->front, have, a->limits->max_message, &frame);
    if (fault != DIRTY_WIRE_OK)
        return fault;
    call->id = frame.id;
    const uint8_t *payload = a->front + DIRTY_FRAME_HEADER_LEN;
    have -= DIRTY_FRAME_HEADER_LEN;
    fault = dirty_route_decode(payload, have, frame.payload_len, &route);
    if (fault != DIRTY_WIRE_OK)
        return fault;
    call->action = route.action;
    call->argc = route.argc;
    if (a->have - DIRTY_FRAME_HEADER_LEN != frame.payload_len)
        return DIRTY_WIRE_MORE;
    fault = dirty_request_open(payload, have, &route, a->limits->max_args,
                               &call->metadata, &call->args);
    return fault == DIRTY_WIRE_OK ? check(a, call, argument) : fault;
}

void dirty_request_reader_end(dirty_request_reader *a) {
    if (a->buffer.cap > KEEP_BYTES)
        dirty_buf_deinit(&a->buffer);
}

void dirty_request_reader_deinit(dirty_request_reader *a) {
    dirty_buf_deinit(&a->buffer);
}
