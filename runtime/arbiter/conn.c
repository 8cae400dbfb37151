#include "arbiter/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "arbiter/lane.h"
#include "arbiter/dispatch.h"
#include "arbiter/hangup_watch.h"
#include "arbiter/reply.h"
#include "arbiter/shared_conns.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/room.h"

/* Cut the peer off after this much discarded input. A client whose send then fails
 * still finds our answer in its receive buffer. */
#define LINGER_DISCARD_MAX (256u * 1024)

/* A connection is shared after so many requests in a row that a lane could have taken
 * itself. If lanes give it back BOUNCES_MAX times in a row, twice as many are needed. */
#define FITS_NEEDED 2
#define FITS_NEEDED_MAX 1024
#define BOUNCES_MAX 3

/* Log a memory shortage at most once in this time. */
#define QUIET_MS 5000

static void on_poll(uv_poll_t *handle, int status, int events);
static void on_timer(uv_timer_t *handle);

/* -- Events and deadlines -------------------------------------------------------- */

/* Skip the call if nothing changes: each change costs system calls. The input of a shared
 * connection is the lanes' to see, and its hang-up is watched. */
void conn_poll(conn *c, int events) {
    if (c->slot != 0)
        events &= UV_WRITABLE;
    if (c->polled == events)
        return;
    c->polled = events;
    if (events != 0)
        uv_poll_start(&c->poll, events, on_poll);
    else
        uv_poll_stop(&c->poll);
}

void conn_watch_hangup(conn *c) {
    hangup_watch_add(c);
    conn_poll(c, c->watched ? 0 : UV_PRIORITIZED);
}

void conn_arm_timer(conn *c) {
    c->timer_ns = c->wake_ns;
    uv_timer_start(&c->timer, on_timer,
                   (uint64_t)dirty_ms_until(c->wake_ns, dirty_now_ns()), 0);
}

static uint64_t after_ms(uint32_t ms) {
    return ms ? dirty_now_ns() + ms * DIRTY_NS_PER_MS : 0;
}

/* -- Creation and closing -------------------------------------------------------- */

int conn_prepare(arbiter *a) {
    if (a->spare == NULL)
        a->spare = calloc(1, sizeof *a->spare);
    return a->spare != NULL ? 0 : -ENOMEM;
}

static void on_handle_closed(uv_handle_t *handle) {
    conn *c = handle->data;
    if (--c->open_handles > 0)
        return;
    arbiter *a = c->a;
    close(c->fd);
    DL_DELETE(a->conns, c);
    a->conn_count--;
    a->closing_count--;
    dirty_buf_deinit(&c->in);
    dirty_buf_deinit(&c->out);
    free(c);
    arbiter_mark(a, MARK_ROOM);
}

int conn_open(arbiter *a, int fd, conn **out) {
    struct ucred peer = {0};
    socklen_t len = sizeof peer;
    conn *c = a->spare;
    int rc = uv_poll_init(&a->loop, &c->poll, fd);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    a->spare = NULL;
    uv_timer_init(&a->loop, &c->timer);
    c->poll.data = c->timer.data = c;
    c->open_handles = 2;
    c->a = a;
    c->fd = c->request.fd = fd;
    c->request.conn = c;
    c->closed = on_handle_closed;
    c->fits_needed = FITS_NEEDED;
    dirty_room_widen(fd); /* a lane is free as soon as the rest of its answer fits in */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0) {
        c->request.peer_pid = peer.pid;
        c->request.peer_uid = peer.uid;
    } else {
        c->request.peer_uid = (uid_t)-1;
    }
    DL_APPEND(a->conns, c);
    if (++a->conn_count > a->conn_peak)
        a->conn_peak = a->conn_count;
    a->counters.connections++;
    conn_enter_first(c);
    conn_poll(c, CONN_INPUT);
    *out = c;
    return 0;
}

void conn_close(conn *c) {
    if (c->state == CONN_CLOSING)
        return;
    /* A lane, or a message on its way to one, may hold a duplicate. close() alone would
     * not end the connection. */
    shutdown(c->fd, SHUT_RDWR);
    conn_set_state(c, CONN_CLOSING);
}

void conn_evict(conn *c) {
    if (c->was_shared)
        shutdown(c->fd, SHUT_RDWR); /* copies of lanes would keep it open */
    conn_set_state(c, CONN_CLOSING);
}

bool conn_has_input(const conn *c) {
    int bytes = 0;
    return c->in.len > 0 || (ioctl(c->fd, FIONREAD, &bytes) == 0 && bytes > 0);
}

bool conn_is_hung_up(const conn *c) {
    struct pollfd p = {.fd = c->fd, .events = 0};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

/* Has the kernel a whole request, or one that is broken, of the connection? */
static bool has_whole_request(const conn *c) {
    uint8_t head[DIRTY_FRAME_HEADER_LEN];
    dirty_frame frame;
    int bytes = 0;
    if (recv(c->fd, head, sizeof head, MSG_PEEK | MSG_DONTWAIT) < (ssize_t)sizeof head ||
        ioctl(c->fd, FIONREAD, &bytes) < 0)
        return false;
    return dirty_frame_decode(head, sizeof head, c->a->o->limits.max_message, &frame) !=
               DIRTY_WIRE_OK ||
           (size_t)bytes >= DIRTY_FRAME_HEADER_LEN + (size_t)frame.payload_len;
}

void conn_let_go(conn *c) {
    if (c->state != CONN_IDLE || c->looking || c->cut_off)
        return;
    if (conn_has_input(c)) {
        dispatch_input(c);
        return;
    }
    /* Nothing can come from here on. Something may have come just before. */
    shutdown(c->fd, SHUT_RD);
    if (!conn_has_input(c)) {
        conn_close(c);
    } else if (has_whole_request(c)) {
        dispatch_input(c);
    } else {
        /* The peer is still sending: its next write fails, and it reads the end. */
        shutdown(c->fd, SHUT_RDWR);
        c->cut_off = true;
        if (c->slot != 0)
            shared_conns_remove(c);
        conn_poll(c, 0);
    }
}

void conn_abandon(conn *c) {
    if (c->state != CONN_CLOSING && (c->state != CONN_IDLE || conn_has_input(c)))
        c->a->counters.abandoned++;
    conn_close(c);
}

static void say_out_of_memory(arbiter *a) {
    if (!dirty_ratelimit_pass(&a->memory_limit, QUIET_MS))
        return;
    dirty_log(DIRTY_LOG_ERROR, "out of memory: closing a connection",
              "sessions=%u queued=%u remedy=%s", a->conn_count, a->queued,
              DIRTY_LOG_QUOTE(dirty_log_remedy(-ENOMEM)));
}

void conn_fail(conn *c) {
    arbiter *a = c->a;
    say_out_of_memory(a);
    bool unstarted = c->request.frame_len > 0 && c->out.len == 0 &&
                     (c->state == CONN_IDLE || c->state == CONN_READING ||
                      c->state == CONN_QUEUED || c->state == CONN_GATHERING);
    if (unstarted && !c->gone) {
        a->last_words.len = 0;
        dirty_error_encode(&a->last_words, c->request.id, DIRTY_CODE_OVERLOADED,
                           dirty_slice_cstr("the runtime is out of memory"), NULL);
        send(c->fd, a->last_words.base, a->last_words.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        app_count(a, c->request.app,
                  &(meter_sample){.outcome = DIRTY_CODE_OVERLOADED,
                                  .action = c->request.action});
    }
    conn_close(c);
}

void conn_returned(conn *c, const uint8_t *bytes, size_t len) {
    dirty_buf in = {0};
    dirty_buf_append(&in, bytes, len);
    dirty_buf_append(&in, c->in.base, c->in.len);
    dirty_buf_deinit(&c->in);
    c->in = in;
    if (dirty_buf_failed(&in)) {
        conn_fail(c);
        return;
    }
    if (c->gone)
        conn_abandon(c);
    else
        conn_wait_again(c);
}

void conn_stalled(conn *c, int fd, size_t len) {
    request *r = &c->request;
    upload_result opened = upload_open(c->a, &r->upload, fd, len);
    if (opened == UPLOAD_BROKEN || len >= r->frame_len) {
        conn_close(c); /* the bytes are lost */
        return;
    }
    c->a->counters.stalled++;
    if (c->gone) {
        conn_abandon(c);
        return;
    }
    if (!conn_set_state(c, CONN_GATHERING))
        return;
    conn_wake_at(c, dirty_earlier_ns(r->recv_deadline_ns, r->deadline_ns));
    if (opened == UPLOAD_FULL)
        reply_uploads_full(c);
    else if (r->app == NULL || !r->app->shown)
        reply_app_removed(c);
    else
        conn_poll(c, CONN_INPUT);
}

/* Drop the first `len` bytes of `in` and release its memory when it is empty. A failed
 * buffer is kept: it records that later bytes were lost. */
static void consume(conn *c, size_t len) {
    arbiter *a = c->a;
    dirty_buf_consume(&c->in, len);
    if (c->in.len > 0 || c->in.cap == 0 || dirty_buf_failed(&c->in))
        return;
    if (c->in.cap > SPARE_INPUT_BYTES || a->spare_input_count == SPARE_INPUTS) {
        dirty_buf_deinit(&c->in);
        return;
    }
    a->spare_inputs[a->spare_input_count++] = c->in;
    c->in = (dirty_buf){0};
}

/* -- Lingering ------------------------------------------------------------------- */

/* LINGER: the answer is sent. Wait for the peer to close. */
static void await_close(conn *c) {
    shutdown(c->fd, SHUT_WR);
    conn_poll(c, UV_READABLE);
    conn_wake_at(c, after_ms(c->a->o->linger_timeout_ms));
}

static void linger(conn *c) {
    if (!conn_set_state(c, CONN_LINGER))
        return;
    dirty_buf_deinit(&c->in);
    if (c->out.len > 0) {
        conn_poll(c, UV_WRITABLE);
        conn_wake_at(c, after_ms(c->a->o->limits.send_timeout_ms));
        return;
    }
    if (c->eof || c->gone) {
        conn_close(c);
        return;
    }
    await_close(c);
}

/* LINGER: discard input until the peer closes or LINGER_DISCARD_MAX is reached. The
 * timeout ends it too. */
static void discard(conn *c) {
    ssize_t n = recv(c->fd, c->a->scratch, sizeof c->a->scratch, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        c->discarded += (size_t)n;
        if (c->discarded < LINGER_DISCARD_MAX)
            return;
    }
    conn_close(c);
}

/* -- Between requests ------------------------------------------------------------ */

void conns_step(arbiter *a) {
    /* Connections added during this loop wait for the next turn. */
    const conn *last = a->looks != NULL ? a->looks->look_prev : NULL;
    while (a->looks != NULL) {
        conn *c = a->looks;
        conn_stop_looking(c);
        if (a->departs && c->in.len == 0 && !c->eof)
            conn_let_go(c);
        else
            dispatch_next(c);
        if (c == last)
            break;
    }
}

/* Could a lane have taken the request that has just been answered, without the arbiter?
 */
static bool fits(const conn *c) {
    const arbiter *a = c->a;
    return a->shared != NULL && a->shared->open && c->state == CONN_RUNNING &&
           c->request.whole && c->request.frame_len < DIRTY_DIRECT_BYTES_MAX &&
           c->request.app != NULL && c->request.app->direct && c->in.len == 0 && !c->eof;
}

/* Give the connection to the lanes. Returns false if the arbiter keeps it. */
static bool share(conn *c) {
    if (c->slot == 0) {
        if (c->fits < c->fits_needed || c->in.len > 0 || c->eof)
            return false;
        conn_watch_hangup(c);
        if (!c->watched || !shared_conns_add(c))
            return false;
    } else if (!c->a->shared->open || c->in.len > 0 || c->eof) {
        shared_conns_remove(c);
        return false;
    } else {
        shared_conns_release(c);
    }
    return true;
}

/* Prepare for the next request. The step reads bytes that have already come: this
 * function may run inside a look. */
static void next_request(conn *c) {
    c->fits = fits(c) ? c->fits + 1 : 0;
    if (!conn_set_state(c, CONN_IDLE))
        return;
    c->wake_ns = 0;
    if (c->a->shared != NULL && share(c)) {
        conn_set_state(c, CONN_SHARED);
        return;
    }
    if (c->in.len == 0 && !c->eof && !c->a->departs) {
        conn_poll(c, CONN_INPUT);
        return;
    }
    c->looking = true;
    DL_APPEND2(c->a->looks, c, look_prev, look_next);
    arbiter_mark(c->a, MARK_LOOK);
}

/* -- While a request waits or runs ----------------------------------------------- */

void conn_hung_up(conn *c) {
    if (c->state == CONN_QUEUED) {
        conn_abandon(c);
        return;
    }
    if (c->request.lane != NULL && lane_take_unstarted(c->request.lane)) {
        conn_abandon(c); /* no lane has started it: treat it as queued */
        return;
    }
    c->gone = true;
    c->a->counters.disconnects++;
    conn_poll(c, 0);
    if (c->request.lane != NULL)
        lane_caller_gone(c->request.lane);
}

static void on_event_while_busy(conn *c) {
    if (c->state == CONN_RUNNING && c->request.whole && (c->polled & UV_READABLE))
        dispatch_early(c);
    else if (conn_is_hung_up(c))
        conn_hung_up(c);
    else
        conn_watch_hangup(c);
}

/* Look at a shared connection that the arbiter owns. What it can't take at once it reads
 * as from any other connection. */
void conn_bounced(conn *c, const uint8_t *bytes, size_t len) {
    if (!conn_set_state(c, CONN_IDLE))
        return;
    if (len > 0)
        dirty_buf_append(&c->in, bytes, len);
    if (dirty_buf_failed(&c->in)) {
        conn_fail(c);
        return;
    }
    if (conn_is_hung_up(c)) {
        conn_abandon(c);
        return;
    }
    uint32_t served = shared_conns_served(c);
    if (served != c->served_then)
        c->bounces = 0; /* not in a row */
    c->served_then = served;
    if (len > 0 && ++c->bounces >= BOUNCES_MAX) {
        c->bounces = 0;
        c->fits_needed *= c->fits_needed < FITS_NEEDED_MAX ? 2 : 1;
        shared_conns_remove(c);
    }
    if (len > 0)
        dispatch_next(c);
    else
        dispatch_input(c);
    if (c->a->departs)
        conn_let_go(c);
    if (c->state != CONN_IDLE || c->slot == 0)
        return;
    if (share(c)) /* there was nothing to read */
        conn_set_state(c, CONN_SHARED);
    else
        conn_poll(c, CONN_INPUT);
}

void conn_adopted(conn *c) {
    if (conn_set_state(c, CONN_RUNNING))
        conn_wake_at(c, c->request.deadline_ns);
}

void conn_wait(conn *c) {
    if (!conn_set_state(c, CONN_QUEUED))
        return;
    conn_wake_at(c, c->request.deadline_ns);
}

void conn_wait_again(conn *c) {
    conn_wait(c);
    if (c->state != CONN_QUEUED)
        return;
    if (c->request.app->shown)
        arbiter_mark(c->a, MARK_REMATCH);
    else
        reply_app_removed(c);
}

void conn_running(conn *c, size_t used) {
    if (!conn_set_state(c, CONN_RUNNING))
        return;
    consume(c, used);
    conn_wake_at(c, c->request.deadline_ns);
    if (c->request.whole)
        return;
    if (c->slot != 0)
        shared_conns_remove(c); /* its bytes would wake other lanes */
    conn_watch_hangup(c);       /* the lane reads the rest */
}

void conn_done(conn *c, int end) {
    if (end == DIRTY_CONNECTION_LOST || c->gone)
        conn_close(c);
    else if (dirty_buf_failed(&c->in))
        conn_fail(c); /* bytes of the next request are lost */
    else if (end == DIRTY_CONNECTION_DRAIN)
        linger(c);
    else
        next_request(c);
}

/* -- Answers of the arbiter ------------------------------------------------------ */

typedef enum flush_result {
    FLUSH_DONE,  /* all bytes are sent */
    FLUSH_MORE,  /* the socket is full: the peer must read first */
    FLUSH_BROKEN /* the connection failed */
} flush_result;

static flush_result flush(conn *c) {
    while (c->out.len > 0) {
        ssize_t n = send(c->fd, c->out.base, c->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? FLUSH_MORE : FLUSH_BROKEN;
        dirty_buf_consume(&c->out, (size_t)n);
    }
    dirty_buf_deinit(&c->out);
    return FLUSH_DONE;
}

static void on_writable(conn *c) {
    switch (flush(c)) {
    case FLUSH_BROKEN: conn_close(c); break;
    case FLUSH_MORE: break;
    case FLUSH_DONE:
        if (c->state == CONN_ANSWERING)
            next_request(c);
        else
            await_close(c);
    }
}

void conn_answer(conn *c, const void *frame, size_t len, bool keep) {
    if (c->state == CONN_CLOSING)
        return;
    dirty_buf_append(&c->out, frame, len);
    if (dirty_buf_failed(&c->out)) {
        conn_fail(c);
        return;
    }
    /* Bytes that went to a lane or into the upload are no longer in `in`. */
    if (c->state != CONN_RUNNING && !c->request.upload.open)
        consume(c, c->request.frame_len);
    if (!conn_set_state(c, CONN_ANSWERING))
        return;
    flush_result result = c->gone ? FLUSH_BROKEN : flush(c);
    if (result == FLUSH_BROKEN)
        conn_close(c);
    else if (!keep || dirty_buf_failed(&c->in))
        linger(c);
    else if (result == FLUSH_DONE)
        next_request(c);
    else {
        conn_poll(c, UV_WRITABLE);
        conn_wake_at(c, after_ms(c->a->o->limits.send_timeout_ms));
    }
}

/* -- Events ---------------------------------------------------------------------- */

/* Handle a failed connection. libuv has stopped polling it. */
static void on_broken(conn *c) {
    c->polled = 0;
    if (c->state == CONN_RUNNING)
        conn_hung_up(c); /* the call continues, as after any hang-up */
    else if (c->state == CONN_ANSWERING || c->state == CONN_LINGER)
        conn_close(c);
    else
        conn_abandon(c);
}

/* May a request still be read? Not if the caller hung up first: nobody waits for the
 * answer. */
static bool may_read(conn *c, int events) {
    if (!(events & UV_DISCONNECT) || !conn_is_hung_up(c))
        return true;
    conn_abandon(c);
    return false;
}

static void on_poll(uv_poll_t *handle, int status, int events) {
    conn *c = handle->data;
    if (status < 0) {
        on_broken(c);
        return;
    }
    switch (c->state) {
    case CONN_IDLE:
    case CONN_READING:
        if (may_read(c, events))
            dispatch_input(c);
        break;
    case CONN_GATHERING:
        if (may_read(c, events))
            dispatch_rest(c);
        break;
    case CONN_QUEUED:
    case CONN_RUNNING: on_event_while_busy(c); break;
    case CONN_ANSWERING: on_writable(c); break;
    case CONN_LINGER:
        if (c->out.len > 0)
            on_writable(c);
        else
            discard(c);
        break;
    case CONN_SHARED:
    case CONN_CLOSING: break;
    }
}

static void on_deadline(conn *c) {
    switch (c->state) {
    case CONN_READING:
    case CONN_GATHERING: reply_timeout(c, "receive"); break;
    case CONN_QUEUED: reply_timeout(c, "queue"); break;
    case CONN_RUNNING:
        if (c->request.lane != NULL)
            lane_interrupt(c->request.lane, DIRTY_CODE_TIMEOUT);
        break;
    case CONN_ANSWERING:
    case CONN_LINGER: conn_close(c); break;
    case CONN_IDLE:
    case CONN_SHARED:
    case CONN_CLOSING: break;
    }
}

static void on_timer(uv_timer_t *handle) {
    conn *c = handle->data;
    uint64_t wake_ns = c->wake_ns;
    c->timer_ns = 0;
    if (wake_ns == 0)
        return;
    if (dirty_now_ns() < wake_ns) {
        conn_wake_at(c, wake_ns);
        return;
    }
    c->wake_ns = 0;
    on_deadline(c);
}
