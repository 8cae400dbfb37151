#include "arbiter/session.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "arbiter/intake.h"
#include "arbiter/lane.h"
#include "arbiter/listener.h"
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

/* -- State ----------------------------------------------------------------------- */

static bool edge_is_legal(session_state from, session_state to) {
    static const uint8_t edges[] = {
        [SESSION_IDLE] = 1 << SESSION_READING | 1 << SESSION_QUEUED |
                         1 << SESSION_RUNNING | 1 << SESSION_ANSWERING |
                         1 << SESSION_LINGER | 1 << SESSION_CLOSING,
        [SESSION_READING] = 1 << SESSION_QUEUED | 1 << SESSION_RUNNING |
                            1 << SESSION_ANSWERING | 1 << SESSION_LINGER |
                            1 << SESSION_CLOSING,
        [SESSION_QUEUED] = 1 << SESSION_RUNNING | 1 << SESSION_ANSWERING |
                           1 << SESSION_LINGER | 1 << SESSION_CLOSING,
        [SESSION_RUNNING] = 1 << SESSION_IDLE | 1 << SESSION_QUEUED |
                            1 << SESSION_ANSWERING | 1 << SESSION_LINGER |
                            1 << SESSION_CLOSING,
        [SESSION_ANSWERING] = 1 << SESSION_IDLE | 1 << SESSION_CLOSING,
        [SESSION_LINGER] = 1 << SESSION_CLOSING,
        [SESSION_CLOSING] = 0,
    };
    return edges[from] >> to & 1;
}

static void set_state(session *s, session_state to) {
    assert(edge_is_legal(s->state, to));
    s->state = to;
}

static void on_poll(uv_poll_t *handle, int status, int events);
static void on_timer(uv_timer_t *handle);

/* Poll for exactly these events; a change costs system calls, no change none. */
static void poll_for(session *s, int events) {
    if (s->polled == events)
        return;
    s->polled = events;
    if (events != 0)
        uv_poll_start(&s->poll, events, on_poll);
    else
        uv_poll_stop(&s->poll);
}

/* Wake at `wake_ns` (0: never). The timer is left armed when the deadline moves later or
 * goes away, and looks again when it fires: requests that are answered in time cost no
 * timer operation. */
static void wake_at(session *s, uint64_t wake_ns) {
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

int session_open(arbiter *a, int fd) {
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
    s->fd = fd;
    widen(fd);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0) {
        s->peer_pid = peer.pid;
        s->peer_uid = peer.uid;
    } else {
        s->peer_uid = (uid_t)-1;
    }
    DL_APPEND(a->sessions, s);
    if (++a->session_count > a->session_peak)
        a->session_peak = a->session_count;
    a->counters.connections++;
    poll_for(s, UV_READABLE);
    return 0;
}

static void on_closed(uv_handle_t *handle) {
    session *s = handle->data;
    if (--s->open_handles > 0)
        return;
    arbiter *a = s->a;
    close(s->fd);
    DL_DELETE(a->sessions, s);
    a->session_count--;
    dirty_buf_deinit(&s->in);
    dirty_buf_deinit(&s->out);
    free(s);
    listener_resume(a);
}

void session_close(session *s) {
    if (s->state == SESSION_CLOSING)
        return;
    if (s->state == SESSION_QUEUED)
        app_dequeue(s->a, s);
    if (s->lane != NULL)
        lane_abandon(s->lane);
    set_state(s, SESSION_CLOSING);
    s->wake_ns = 0;
    /* A lane, or a message under way to it, may hold a duplicate: close() alone would
     * not end the connection. */
    shutdown(s->fd, SHUT_RDWR);
    uv_close((uv_handle_t *)&s->poll, on_closed);
    uv_close((uv_handle_t *)&s->timer, on_closed);
}

static void say_out_of_memory(arbiter *a) {
    uint64_t now_ns = dirty_now_ns();
    if (now_ns < a->quiet_until_ns)
        return;
    dirty_log(DIRTY_LOG_ERROR, "out of memory, a connection is closed",
              "sessions=%u queued=%u remedy=%s", a->session_count, a->queued,
              DIRTY_LOG_QUOTE(dirty_log_remedy(-ENOMEM)));
    a->quiet_until_ns = now_ns + QUIET_MS * DIRTY_NS_PER_MS;
}

void session_fail(session *s) {
    arbiter *a = s->a;
    say_out_of_memory(a);
    bool unstarted = s->frame_len > 0 && s->out.len == 0 &&
                     (s->state == SESSION_IDLE || s->state == SESSION_READING ||
                      s->state == SESSION_QUEUED);
    if (unstarted && !s->gone) {
        a->last_words.len = 0;
        dirty_error_encode(&a->last_words, s->id, DIRTY_CODE_OVERLOADED,
                           dirty_slice_cstr("the runtime is out of memory"), NULL);
        send(s->fd, a->last_words.base, a->last_words.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        app_count(a, s->app,
                  &(meter_sample){.outcome = DIRTY_CODE_OVERLOADED, .action = s->action});
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
    if (s->gone) {
        session_close(s);
        return;
    }
    session_wait(s);
    lane *idle = lane_find(s->a, s->app);
    if (idle != NULL)
        lane_pull(idle);
}

/* Drop the first bytes of `in`, and its memory with the last of them, but not that bytes
 * behind them were lost. */
static void consume(session *s, size_t len) {
    dirty_buf_consume(&s->in, len);
    if (s->in.len == 0 && s->in.cap != 0 && !dirty_buf_failed(&s->in))
        dirty_buf_deinit(&s->in);
}

/* -- Ending softly ---------------------------------------------------------------- */

static void linger(session *s) {
    set_state(s, SESSION_LINGER);
    dirty_buf_deinit(&s->in);
    if (s->out.len > 0) {
        poll_for(s, UV_WRITABLE);
        wake_at(s, after_ms(s->a->o->limits.send_timeout_ms));
        return;
    }
    if (s->eof || s->gone) {
        session_close(s);
        return;
    }
    shutdown(s->fd, SHUT_WR);
    poll_for(s, UV_READABLE);
    wake_at(s, after_ms(s->a->o->linger_timeout_ms));
}

/* LINGER: throw input away until the peer closes, the bound or the timeout is reached. */
static void discard(session *s) {
    ssize_t n = recv(s->fd, s->a->scratch, sizeof s->a->scratch, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        s->discarded += (size_t)n;
        if (s->discarded < LINGER_DISCARD_MAX)
            return;
    }
    session_close(s);
}

/* -- Reading requests -------------------------------------------------------------- */

/* Look at the requests that are in `in`, until one is under way or bytes are missing. */
static void advance(session *s) {
    if (s->advancing)
        return; /* the loop below called what called us, and goes on */
    s->advancing = true;
    while (s->state == SESSION_IDLE && s->in.len > 0) {
        bool full = s->in.len >= DIRTY_HEAD_BYTES_MAX;
        s->arrived_ns = dirty_now_ns();
        if (intake_look(s, s->in.base, s->in.len, full) == INTAKE_MORE) {
            set_state(s, SESSION_READING);
            wake_at(s, after_ms(s->a->o->recv_timeout_ms));
        }
    }
    s->advancing = false;
    if (s->state == SESSION_IDLE || s->state == SESSION_READING) {
        if (s->eof)
            session_close(s); /* no further byte can come */
        else
            poll_for(s, UV_READABLE);
    }
}

/* The connection is free for the next request. */
static void next_request(session *s) {
    set_state(s, SESSION_IDLE);
    s->wake_ns = 0;
    s->app = NULL;
    s->frame_len = 0;
    s->action[0] = '\0';
    advance(s);
}

static void on_end_of_input(session *s) {
    s->eof = true;
    if (s->state == SESSION_READING && s->in.len > 0 && s->frame_len > 0)
        refuse_fault(s, DIRTY_WIRE_TRUNCATED);
    else
        session_close(s);
}

/* IDLE and READING: take what is there and see whether it makes a request. The first
 * bytes go to the arbiter's scratch, so that a request that is dispatched at once is
 * never copied. */
static void read_request(session *s) {
    arbiter *a = s->a;
    bool fresh = s->in.len == 0;
    if (!fresh && dirty_buf_reserve(&s->in, DIRTY_HEAD_BYTES_MAX - s->in.len) < 0) {
        session_fail(s);
        return;
    }
    uint8_t *at = fresh ? a->scratch : s->in.base + s->in.len;
    ssize_t n = recv(s->fd, at, DIRTY_HEAD_BYTES_MAX - s->in.len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        session_close(s);
        return;
    }
    if (n == 0) {
        on_end_of_input(s);
        return;
    }
    const uint8_t *bytes = fresh ? a->scratch : s->in.base;
    size_t len = s->in.len + (size_t)n;
    if (!fresh)
        s->in.len = len;
    if (s->state == SESSION_IDLE)
        s->arrived_ns = dirty_now_ns();
    if (intake_look(s, bytes, len, len >= DIRTY_HEAD_BYTES_MAX) == INTAKE_TAKEN)
        return;
    if (fresh)
        dirty_buf_append(&s->in, bytes, len);
    if (dirty_buf_failed(&s->in)) {
        session_fail(s);
    } else if (s->state == SESSION_IDLE) {
        set_state(s, SESSION_READING);
        wake_at(s, after_ms(a->o->recv_timeout_ms));
    }
}

/* -- While a request waits or runs -------------------------------------------------- */

static bool has_hung_up(const session *s) {
    struct pollfd p = {.fd = s->fd, .events = 0};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

static void on_hang_up(session *s) {
    if (s->state == SESSION_QUEUED) {
        s->a->counters.abandoned++;
        session_close(s);
        arbiter_progress(s->a);
        return;
    }
    s->gone = true;
    s->a->counters.disconnects++;
    poll_for(s, 0);
    if (s->lane != NULL)
        lane_caller_gone(s->lane);
}

/* RUNNING, the request read whole by us: what comes now belongs to the next one. Taking
 * it early costs nothing, as it has to be read anyway: often the answer was sent and the
 * lane's DONE is about to come. */
static void read_early(session *s) {
    size_t room = DIRTY_HEAD_BYTES_MAX - s->in.len;
    ssize_t n = room > 0 ? recv(s->fd, s->a->scratch, room, 0) : -1;
    if (n > 0)
        dirty_buf_append(&s->in, s->a->scratch, (size_t)n);
    if (n == 0)
        s->eof = true;
    if (n > 0 && s->in.len < DIRTY_HEAD_BYTES_MAX && !dirty_buf_failed(&s->in))
        return;
    if (has_hung_up(s))
        on_hang_up(s);
    else
        poll_for(s, UV_PRIORITIZED); /* fires on a hang-up alone */
}

static void on_event_while_busy(session *s) {
    if (s->state == SESSION_RUNNING && s->whole && (s->polled & UV_READABLE))
        read_early(s);
    else if (has_hung_up(s))
        on_hang_up(s);
    else
        poll_for(s, UV_PRIORITIZED);
}

void session_wait(session *s) {
    set_state(s, SESSION_QUEUED);
    wake_at(s, s->deadline_ns);
    app_enqueue(s->a, s);
}

void session_running(session *s, size_t used) {
    set_state(s, SESSION_RUNNING);
    consume(s, used);
    wake_at(s, s->deadline_ns);
    if (!s->whole)
        poll_for(s, UV_PRIORITIZED); /* the rest is the lane's to read */
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

/* Send what is in `out`. True: all is out. */
static bool flush(session *s) {
    while (s->out.len > 0) {
        ssize_t n = send(s->fd, s->out.base, s->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN)
                session_close(s);
            return false;
        }
        dirty_buf_consume(&s->out, (size_t)n);
    }
    dirty_buf_deinit(&s->out);
    return true;
}

static void on_writable(session *s) {
    if (!flush(s))
        return;
    if (s->state == SESSION_ANSWERING) {
        next_request(s);
    } else {
        shutdown(s->fd, SHUT_WR);
        poll_for(s, UV_READABLE);
        wake_at(s, after_ms(s->a->o->linger_timeout_ms));
    }
}

void session_answer(session *s, const void *frame, size_t len, bool keep) {
    if (s->state == SESSION_QUEUED)
        app_dequeue(s->a, s);
    if (s->state != SESSION_RUNNING)
        consume(s, s->frame_len);
    dirty_buf_append(&s->out, frame, len);
    if (dirty_buf_failed(&s->out)) {
        session_fail(s);
        return;
    }
    if (s->gone) {
        session_close(s);
        return;
    }
    bool out = flush(s);
    if (s->state == SESSION_CLOSING)
        return;
    if (!keep || dirty_buf_failed(&s->in)) {
        linger(s);
        return;
    }
    set_state(s, SESSION_ANSWERING);
    if (out) {
        next_request(s);
        return;
    }
    poll_for(s, UV_WRITABLE);
    wake_at(s, after_ms(s->a->o->limits.send_timeout_ms));
}

/* -- Events ------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *handle, int status, int events) {
    session *s = handle->data;
    (void)events;
    if (status < 0) {
        session_close(s);
        return;
    }
    switch (s->state) {
    case SESSION_IDLE:
    case SESSION_READING: read_request(s); break;
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
    case SESSION_READING: refuse_timeout(s, "receive"); break;
    case SESSION_QUEUED:
        refuse_timeout(s, "queue");
        arbiter_progress(s->a);
        break;
    case SESSION_RUNNING:
        if (s->lane != NULL)
            lane_interrupt(s->lane, DIRTY_CODE_TIMEOUT);
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
        wake_at(s, wake_ns);
        return;
    }
    s->wake_ns = 0;
    on_deadline(s);
}
