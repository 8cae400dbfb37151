#include "arbiter/session.h"

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
#include "arbiter/refusal.h"
#include "base/clock.h"
#include "base/log.h"

/* Input that an ended connection may still send before it is cut off. A client whose
 * send then fails still finds our answer in its receive buffer. */
#define LINGER_DISCARD_MAX (256u * 1024)
/* What the kernel holds of an answer that its caller has not read: a lane is free as soon
 * as the rest of its answer fits. The usual default is less than half of it. */
#define ANSWER_ROOM_BYTES (512 * 1024)

/* That memory is short is said once in this time. */
#define QUIET_MS 5000

static void on_poll(uv_poll_t *handle, int status, int events);
static void on_timer(uv_timer_t *handle);

/* -- Waiting ----------------------------------------------------------------------- */

/* A change costs system calls, no change none. */
void session_poll(session *s, int events) {
    if (s->polled == events)
        return;
    s->polled = events;
    if (events != 0)
        uv_poll_start(&s->poll, events, on_poll);
    else
        uv_poll_stop(&s->poll);
}

/* The timer is left armed when the deadline moves later or goes away, and looks again
 * when it fires: requests that are answered in time cost no timer operation. */
void session_wake_at(session *s, uint64_t wake_ns) {
    s->wake_ns = wake_ns;
    if (wake_ns == 0 || (s->timer_ns != 0 && s->timer_ns <= wake_ns))
        return;
    s->timer_ns = wake_ns;
    uv_timer_start(&s->timer, on_timer, (uint64_t)dirty_ms_until(wake_ns, dirty_now_ns()),
                   0);
}

static uint64_t after_ms(uint32_t ms) {
    return ms ? dirty_now_ns() + ms * DIRTY_NS_PER_MS : 0;
}

/* -- Life ------------------------------------------------------------------------ */

/* The kernel doubles what is set, and bounds it by net.core.wmem_max. */
static void widen(int fd) {
    int bytes = 0, half = ANSWER_ROOM_BYTES / 2;
    socklen_t len = sizeof bytes;
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &len) == 0 &&
        bytes < ANSWER_ROOM_BYTES)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof half);
}

int session_prepare(arbiter *a) {
    if (a->spare == NULL)
        a->spare = calloc(1, sizeof *a->spare);
    return a->spare != NULL ? 0 : -ENOMEM;
}

static void on_handle_closed(uv_handle_t *handle) {
    session *s = handle->data;
    if (--s->open_handles > 0)
        return;
    arbiter *a = s->a;
    close(s->fd);
    DL_DELETE(a->sessions, s);
    a->session_count--;
    a->closing_count--;
    dirty_buf_deinit(&s->in);
    dirty_buf_deinit(&s->out);
    free(s);
    arbiter_mark(a, MARK_ROOM);
}

int session_open(arbiter *a, int fd, session **out) {
    struct ucred peer = {0};
    socklen_t len = sizeof peer;
    session *s = a->spare;
    int rc = uv_poll_init(&a->loop, &s->poll, fd);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    a->spare = NULL;
    uv_timer_init(&a->loop, &s->timer);
    s->poll.data = s->timer.data = s;
    s->open_handles = 2;
    s->a = a;
    s->fd = s->request.fd = fd;
    s->request.conn = s;
    s->closed = on_handle_closed;
    widen(fd);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0) {
        s->request.peer_pid = peer.pid;
        s->request.peer_uid = peer.uid;
    } else {
        s->request.peer_uid = (uid_t)-1;
    }
    DL_APPEND(a->sessions, s);
    if (++a->session_count > a->session_peak)
        a->session_peak = a->session_count;
    a->counters.connections++;
    session_enter_first(s);
    session_poll(s, SESSION_INPUT);
    *out = s;
    return 0;
}

void session_close(session *s) {
    if (s->state == SESSION_CLOSING)
        return;
    /* A lane, or a message under way to it, may hold a duplicate: close() alone would
     * not end the connection. */
    shutdown(s->fd, SHUT_RDWR);
    session_set_state(s, SESSION_CLOSING);
}

void session_evict(session *s) {
    session_set_state(s, SESSION_CLOSING);
}

bool session_has_input(const session *s) {
    int bytes = 0;
    return s->in.len > 0 || (ioctl(s->fd, FIONREAD, &bytes) == 0 && bytes > 0);
}

bool session_is_hung_up(const session *s) {
    struct pollfd p = {.fd = s->fd, .events = 0};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

void session_abandon(session *s) {
    if (s->state != SESSION_CLOSING && (s->state != SESSION_IDLE || session_has_input(s)))
        s->a->counters.abandoned++;
    session_close(s);
}

static void say_out_of_memory(arbiter *a) {
    if (!dirty_ratelimit_pass(&a->memory_limit, QUIET_MS))
        return;
    dirty_log(DIRTY_LOG_ERROR, "out of memory, a connection is closed",
              "sessions=%u queued=%u remedy=%s", a->session_count, a->queued,
              DIRTY_LOG_QUOTE(dirty_log_remedy(-ENOMEM)));
}

void session_fail(session *s) {
    arbiter *a = s->a;
    say_out_of_memory(a);
    bool unstarted = s->request.frame_len > 0 && s->out.len == 0 &&
                     (s->state == SESSION_IDLE || s->state == SESSION_READING ||
                      s->state == SESSION_QUEUED || s->state == SESSION_GATHERING);
    if (unstarted && !s->gone) {
        a->last_words.len = 0;
        dirty_error_encode(&a->last_words, s->request.id, DIRTY_CODE_OVERLOADED,
                           dirty_slice_cstr("the runtime is out of memory"), NULL);
        send(s->fd, a->last_words.base, a->last_words.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        app_count(a, s->request.app,
                  &(meter_sample){.outcome = DIRTY_CODE_OVERLOADED,
                                  .action = s->request.action});
    }
    session_close(s);
}

void session_returned(session *s, const uint8_t *bytes, size_t len) {
    dirty_buf in = {0};
    dirty_buf_append(&in, bytes, len);
    dirty_buf_append(&in, s->in.base, s->in.len);
    dirty_buf_deinit(&s->in);
    s->in = in;
    if (dirty_buf_failed(&in)) {
        session_fail(s);
        return;
    }
    if (s->gone)
        session_abandon(s);
    else
        session_wait(s);
}

void session_stalled(session *s, int fd, size_t len) {
    request *r = &s->request;
    upload_result opened = upload_open(s->a, &r->upload, fd, len);
    if (opened == UPLOAD_BROKEN || len >= r->frame_len) {
        session_close(s); /* the bytes are lost */
        return;
    }
    s->a->counters.stalled++;
    if (s->gone) {
        session_abandon(s);
        return;
    }
    if (!session_set_state(s, SESSION_GATHERING))
        return;
    session_wake_at(s, dirty_earlier_ns(r->recv_deadline_ns, r->deadline_ns));
    if (opened == UPLOAD_FULL)
        refuse_upload(s);
    else if (r->app == NULL || !r->app->shown)
        refuse_removed(s);
    else
        session_poll(s, SESSION_INPUT);
}

/* Drop the first bytes of `in`, and its memory with the last of them, but not that bytes
 * behind them were lost. */
static void consume(session *s, size_t len) {
    arbiter *a = s->a;
    dirty_buf_consume(&s->in, len);
    if (s->in.len > 0 || s->in.cap == 0 || dirty_buf_failed(&s->in))
        return;
    if (s->in.cap > SPARE_INPUT_BYTES || a->spare_input_count == SPARE_INPUTS) {
        dirty_buf_deinit(&s->in);
        return;
    }
    a->spare_inputs[a->spare_input_count++] = s->in;
    s->in = (dirty_buf){0};
}

/* -- Ending softly ---------------------------------------------------------------- */

/* LINGER: the answer is out, the peer is to close. */
static void await_close(session *s) {
    shutdown(s->fd, SHUT_WR);
    session_poll(s, UV_READABLE);
    session_wake_at(s, after_ms(s->a->o->linger_timeout_ms));
}

static void linger(session *s) {
    if (!session_set_state(s, SESSION_LINGER))
        return;
    dirty_buf_deinit(&s->in);
    if (s->out.len > 0) {
        session_poll(s, UV_WRITABLE);
        session_wake_at(s, after_ms(s->a->o->limits.send_timeout_ms));
        return;
    }
    if (s->eof || s->gone) {
        session_close(s);
        return;
    }
    await_close(s);
}

/* LINGER: throw input away until the peer closes, the bound or the timeout is reached. */
static void discard(session *s) {
    ssize_t n = recv(s->fd, s->a->scratch, sizeof s->a->scratch, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        s->discarded += (size_t)n;
        if (s->discarded < LINGER_DISCARD_MAX)
            return;
    }
    session_close(s);
}

/* -- Between requests --------------------------------------------------------------- */

void sessions_step(arbiter *a) {
    /* Those that come to the list meanwhile are looked at in the next turn. */
    const session *last = a->looks != NULL ? a->looks->look_prev : NULL;
    while (a->looks != NULL) {
        session *s = a->looks;
        session_stop_looking(s);
        dispatch_next(s);
        if (s == last)
            break;
    }
}

/* The connection is free for the next request. What has come of it is looked at in the
 * step, not here: we may be called from inside a look. */
static void next_request(session *s) {
    if (!session_set_state(s, SESSION_IDLE))
        return;
    s->wake_ns = 0;
    if (s->in.len == 0 && !s->eof) {
        session_poll(s, SESSION_INPUT);
        return;
    }
    s->looking = true;
    DL_APPEND2(s->a->looks, s, look_prev, look_next);
    arbiter_mark(s->a, MARK_LOOK);
}

/* -- While a request waits or runs -------------------------------------------------- */

void session_hung_up(session *s) {
    if (s->state == SESSION_QUEUED) {
        session_abandon(s);
        return;
    }
    if (s->request.lane != NULL && lane_take_unstarted(s->request.lane)) {
        session_abandon(s); /* as if it still waited */
        return;
    }
    s->gone = true;
    s->a->counters.disconnects++;
    session_poll(s, 0);
    if (s->request.lane != NULL)
        lane_caller_gone(s->request.lane);
}

static void on_event_while_busy(session *s) {
    if (s->state == SESSION_RUNNING && s->request.whole && (s->polled & UV_READABLE))
        dispatch_early(s);
    else if (session_is_hung_up(s))
        session_hung_up(s);
    else
        session_poll(s, UV_PRIORITIZED);
}

void session_wait(session *s) {
    if (!session_set_state(s, SESSION_QUEUED))
        return;
    session_wake_at(s, s->request.deadline_ns);
    if (s->request.app->shown)
        arbiter_mark(s->a, MARK_REMATCH); /* lanes may be idle, where it was given back */
    else
        refuse_removed(s); /* while a lane had it */
}

void session_running(session *s, size_t used) {
    if (!session_set_state(s, SESSION_RUNNING))
        return;
    consume(s, used);
    session_wake_at(s, s->request.deadline_ns);
    if (!s->request.whole)
        session_poll(s, UV_PRIORITIZED); /* the rest is the lane's to read */
}

void session_done(session *s, int end) {
    if (end == DIRTY_CONNECTION_LOST || s->gone)
        session_close(s);
    else if (dirty_buf_failed(&s->in))
        session_fail(s); /* bytes of the next request are lost */
    else if (end == DIRTY_CONNECTION_DRAIN)
        linger(s);
    else
        next_request(s);
}

/* -- Our own answers --------------------------------------------------------------- */

typedef enum flush_result {
    FLUSH_DONE,  /* all is out */
    FLUSH_MORE,  /* the peer has to read first */
    FLUSH_BROKEN /* the peer is gone */
} flush_result;

/* Send what is in `out`. */
static flush_result flush(session *s) {
    while (s->out.len > 0) {
        ssize_t n = send(s->fd, s->out.base, s->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? FLUSH_MORE : FLUSH_BROKEN;
        dirty_buf_consume(&s->out, (size_t)n);
    }
    dirty_buf_deinit(&s->out);
    return FLUSH_DONE;
}

static void on_writable(session *s) {
    switch (flush(s)) {
    case FLUSH_BROKEN: session_close(s); break;
    case FLUSH_MORE: break;
    case FLUSH_DONE:
        if (s->state == SESSION_ANSWERING)
            next_request(s);
        else
            await_close(s);
    }
}

void session_answer(session *s, const void *frame, size_t len, bool keep) {
    if (s->state == SESSION_CLOSING)
        return;
    dirty_buf_append(&s->out, frame, len);
    if (dirty_buf_failed(&s->out)) {
        session_fail(s);
        return;
    }
    /* What a lane has had is not in `in` any more. */
    if (s->state != SESSION_RUNNING && !s->request.upload.open)
        consume(s, s->request.frame_len);
    if (!session_set_state(s, SESSION_ANSWERING))
        return;
    flush_result result = s->gone ? FLUSH_BROKEN : flush(s);
    if (result == FLUSH_BROKEN)
        session_close(s);
    else if (!keep || dirty_buf_failed(&s->in))
        linger(s);
    else if (result == FLUSH_DONE)
        next_request(s);
    else {
        session_poll(s, UV_WRITABLE);
        session_wake_at(s, after_ms(s->a->o->limits.send_timeout_ms));
    }
}

/* -- Events ------------------------------------------------------------------------- */

/* The connection failed; libuv has stopped polling it. */
static void on_broken(session *s) {
    s->polled = 0;
    if (s->state == SESSION_RUNNING)
        session_hung_up(s); /* the call goes on, as after any hang-up */
    else if (s->state == SESSION_ANSWERING || s->state == SESSION_LINGER)
        session_close(s);
    else
        session_abandon(s);
}

/* Whether a request of it may still be taken. One of a caller that hung up before it was
 * read is not: nobody waits for it. */
static bool may_read(session *s, int events) {
    if (!(events & UV_DISCONNECT) || !session_is_hung_up(s))
        return true;
    session_abandon(s);
    return false;
}

static void on_poll(uv_poll_t *handle, int status, int events) {
    session *s = handle->data;
    if (status < 0) {
        on_broken(s);
        return;
    }
    switch (s->state) {
    case SESSION_IDLE:
    case SESSION_READING:
        if (may_read(s, events))
            dispatch_input(s);
        break;
    case SESSION_GATHERING:
        if (may_read(s, events))
            dispatch_rest(s);
        break;
    case SESSION_QUEUED:
    case SESSION_RUNNING: on_event_while_busy(s); break;
    case SESSION_ANSWERING: on_writable(s); break;
    case SESSION_LINGER:
        if (s->out.len > 0)
            on_writable(s);
        else
            discard(s);
        break;
    case SESSION_CLOSING: break;
    }
}

static void on_deadline(session *s) {
    switch (s->state) {
    case SESSION_READING:
    case SESSION_GATHERING: refuse_timeout(s, "receive"); break;
    case SESSION_QUEUED: refuse_timeout(s, "queue"); break;
    case SESSION_RUNNING:
        if (s->request.lane != NULL)
            lane_interrupt(s->request.lane, DIRTY_CODE_TIMEOUT);
        break;
    case SESSION_ANSWERING:
    case SESSION_LINGER: session_close(s); break;
    case SESSION_IDLE:
    case SESSION_CLOSING: break;
    }
}

static void on_timer(uv_timer_t *handle) {
    session *s = handle->data;
    uint64_t wake_ns = s->wake_ns;
    s->timer_ns = 0;
    if (wake_ns == 0)
        return;
    if (dirty_now_ns() < wake_ns) {
        session_wake_at(s, wake_ns);
        return;
    }
    s->wake_ns = 0;
    on_deadline(s);
}
