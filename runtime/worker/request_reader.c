#include "worker/request_reader.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "wire/frame.h"
#include "wire/request.h"
#include "worker/peer.h"

/* Keep a buffer of at most this size: the next request finds it in the CPU's cache. */
#define KEEP_BYTES (2u << 20)
/* Look at the baton again after waiting this long for bytes. */
#define LOOK_UP_MS 250
/* Credit for waiting that each received byte earns. A sender of 4 MB/s keeps its lane. A
 * sender that refills its socket at once is faster than that, even on a busy machine. */
#define CREDIT_NS_PER_BYTE 250

/* -- Reading ----------------------------------------------------------------------- */

/* Waiting for bytes uses up credit. If nobody else waits for a lane, the reader starts
 * with full credit, else with none. Received bytes earn more. */
static void open_credit(dirty_request_reader *r, const dirty_msg_dispatch *d) {
    r->credit_ns = d->others_wait ? 0 : r->patience_ms * DIRTY_NS_PER_MS;
}

static void earn(dirty_request_reader *r, size_t bytes) {
    uint64_t most_ns = r->patience_ms * DIRTY_NS_PER_MS;
    r->credit_ns += bytes * CREDIT_NS_PER_BYTE;
    if (r->credit_ns > most_ns)
        r->credit_ns = most_ns;
}

static void pay(dirty_request_reader *r, uint64_t waited_ns) {
    r->credit_ns -= waited_ns < r->credit_ns ? waited_ns : r->credit_ns;
}

/* Read the next `len` bytes of the request into `to`. */
static int read_to(dirty_request_reader *r, const dirty_channel *channel, void *to,
                   size_t len) {
    const dirty_msg_dispatch *d = &channel->message.dispatch;
    uint64_t deadline_ns = dirty_earlier_ns(d->recv_deadline_ns, d->deadline_ns);
    for (size_t got = 0; got < len;) {
        if (dirty_baton_read(r->page, d->seq) != DIRTY_BATON_READING)
            return -ECANCELED;
        uint64_t now_ns = dirty_now_ns(), waited_ns = 0;
        bool late = deadline_ns != 0 && now_ns >= deadline_ns;
        int wait_ms =
            dirty_ms_until(dirty_earlier_ns(deadline_ns, now_ns + r->credit_ns), now_ns);
        /* Read even when late: bytes that are already here came in time. */
        ssize_t n =
            dirty_peer_read(channel->peer_fd, (char *)to + got, len - got,
                            wait_ms < LOOK_UP_MS ? wait_ms : LOOK_UP_MS, &waited_ns);
        pay(r, waited_ns);
        if (n == -EAGAIN && late)
            return -ETIMEDOUT;
        if (n == -EAGAIN && r->credit_ns == 0)
            return -EINPROGRESS;
        if (n < 0 && n != -EAGAIN)
            return (int)n;
        if (n > 0) {
            got += (size_t)n;
            r->have += (size_t)n;
            earn(r, (size_t)n);
        }
    }
    return 0;
}

/* Read the whole request into the buffer. */
static int gather(dirty_request_reader *r, const dirty_channel *channel) {
    const dirty_msg_dispatch *d = &channel->message.dispatch;
    r->buffer.len = 0;
    if (dirty_buf_reserve(&r->buffer, d->frame_len) < 0)
        return -ENOMEM;
    dirty_buf_append(&r->buffer, r->front, r->have);
    r->front = r->buffer.base;
    r->front_len = d->frame_len;
    return read_to(r, channel, r->buffer.base + r->have, d->frame_len - r->have);
}

/* Find the string that the end of the first bytes cuts in two. Returns its length, 0 if
 * there is none, and sets `at` to the offset of its first byte. */
static size_t find_cut_string(const dirty_request_reader *r, size_t frame_len,
                              size_t *at) {
    const uint8_t *payload = r->front + DIRTY_FRAME_HEADER_LEN;
    dirty_route route;
    dirty_slice metadata;
    dirty_value_reader values;
    dirty_value value;
    if (r->have < DIRTY_FRAME_HEADER_LEN)
        return 0;
    size_t have = r->have - DIRTY_FRAME_HEADER_LEN;
    if (dirty_route_decode(payload, have, frame_len - DIRTY_FRAME_HEADER_LEN, &route) !=
            DIRTY_WIRE_OK ||
        dirty_request_open(payload, have, &route, r->limits->max_args, &metadata,
                           &values) != DIRTY_WIRE_OK)
        return 0;
    while (values.left > 0 && dirty_value_next(&values, &value) == DIRTY_WIRE_OK)
        continue;
    if (values.left == 0 || (size_t)(values.end - values.at) < DIRTY_VALUE_HEAD_LEN ||
        values.at[0] != DIRTY_TAG_BYTES)
        return 0;
    size_t len = dirty_get32(values.at + 1);
    *at = (size_t)(values.at - r->front) + DIRTY_VALUE_HEAD_LEN;
    return len <= frame_len - *at ? len : 0;
}

/* Read the string of `len` bytes at `at` into the seat, the rest into the buffer. */
static int read_seated(dirty_request_reader *r, const dirty_channel *channel, size_t at,
                       size_t len) {
    const dirty_msg_dispatch *d = &channel->message.dispatch;
    size_t after = d->frame_len - at - len, first = r->have - at;
    r->buffer.len = 0;
    if (dirty_buf_reserve(&r->buffer, after) < 0)
        return -ENOMEM;
    memcpy(r->seat, r->front + at, first);
    r->seat_len = len;
    r->front_len = at - DIRTY_VALUE_HEAD_LEN;
    int rc = read_to(r, channel, r->seat + first, len - first);
    if (rc == 0)
        rc = read_to(r, channel, r->buffer.base, after);
    if (rc == 0)
        r->buffer.len = after;
    return rc;
}

/* Read the whole request from the file in which the arbiter gathered it. */
static int load(dirty_request_reader *r, const dirty_channel *channel) {
    uint32_t len = channel->message.dispatch.frame_len;
    r->buffer.len = 0;
    if (dirty_buf_reserve(&r->buffer, len) < 0)
        return -ENOMEM;
    while (r->have < len) {
        ssize_t n =
            pread(channel->file, r->buffer.base + r->have, len - r->have, (off_t)r->have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        r->have += (size_t)n;
    }
    r->front = r->buffer.base;
    r->front_len = len;
    return 0;
}

int dirty_request_reader_read(dirty_request_reader *r, dirty_channel *channel) {
    const dirty_msg_dispatch *d = &channel->message.dispatch;
    r->front = dirty_channel_bytes(channel);
    r->front_len = r->have = d->have_len;
    r->seat = NULL;
    open_credit(r, d);
    if (d->gathered)
        return load(r, channel);
    if (r->have == d->frame_len)
        return 0;
    size_t at = 0, len = find_cut_string(r, d->frame_len, &at);
    if (len > 0)
        r->seat = dirty_host_seat(r->host, len);
    return r->seat != NULL ? read_seated(r, channel, at, len) : gather(r, channel);
}

void dirty_request_reader_take(dirty_request_reader *r, const uint8_t *bytes,
                               size_t len) {
    r->front = bytes;
    r->front_len = r->have = len;
    r->seat = NULL;
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

int dirty_request_reader_save(const dirty_request_reader *r) {
    int fd = memfd_create("dirty request", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    size_t front = r->have, seat = 0;
    if (r->seat != NULL) {
        front = r->front_len + DIRTY_VALUE_HEAD_LEN;
        seat = r->have - front < r->seat_len ? r->have - front : r->seat_len;
    }
    int rc = write_all(fd, r->front, front);
    if (rc == 0 && r->seat != NULL)
        rc = write_all(fd, r->seat, seat);
    if (rc == 0 && r->seat != NULL)
        rc = write_all(fd, r->buffer.base, r->have - front - seat);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

/* -- Parsing ----------------------------------------------------------------------- */

/* Decode all values. `argument` counts them; 0 if the error is after the last one. */
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

/* Split the arguments at the seat: those before it and those after it. */
static void cut(const dirty_request_reader *r, dirty_call *call) {
    dirty_value_reader front = call->args;
    dirty_value value;
    uint32_t before = 0;
    while (front.at < front.end && dirty_value_next(&front, &value) == DIRTY_WIRE_OK)
        before++;
    call->seated = true;
    call->args.left = before;
    dirty_value_reader_init(&call->rest, r->buffer.base, r->buffer.len,
                            call->argc - before - 1);
}

/* Decode all arguments once, so that the host gets valid values only. */
static dirty_wire_fault check(const dirty_request_reader *r, dirty_call *call,
                              uint32_t *argument) {
    *argument = 1;
    if (r->seat != NULL)
        cut(r, call);
    dirty_wire_fault fault = walk(call->args, argument);
    if (fault == DIRTY_WIRE_OK && call->seated) {
        ++*argument;
        fault = walk(call->rest, argument);
    }
    return fault;
}

dirty_wire_fault dirty_request_reader_parse(dirty_request_reader *r, dirty_call *call,
                                            uint32_t *argument) {
    dirty_frame frame;
    dirty_route route;
    size_t have = r->front_len < r->have ? r->front_len : r->have;
    *argument = 0;
    dirty_wire_fault fault =
        dirty_frame_decode(r->front, have, r->limits->max_message, &frame);
    if (fault != DIRTY_WIRE_OK)
        return fault;
    call->id = frame.id;
    const uint8_t *payload = r->front + DIRTY_FRAME_HEADER_LEN;
    have -= DIRTY_FRAME_HEADER_LEN;
    fault = dirty_route_decode(payload, have, frame.payload_len, &route);
    if (fault != DIRTY_WIRE_OK)
        return fault;
    call->action = route.action;
    call->argc = route.argc;
    if (r->have - DIRTY_FRAME_HEADER_LEN != frame.payload_len)
        return DIRTY_WIRE_MORE;
    fault = dirty_request_open(payload, have, &route, r->limits->max_args,
                               &call->metadata, &call->args);
    return fault == DIRTY_WIRE_OK ? check(r, call, argument) : fault;
}

void dirty_request_reader_end(dirty_request_reader *r) {
    if (r->buffer.cap > KEEP_BYTES)
        dirty_buf_deinit(&r->buffer);
}

void dirty_request_reader_deinit(dirty_request_reader *r) {
    dirty_buf_deinit(&r->buffer);
}
