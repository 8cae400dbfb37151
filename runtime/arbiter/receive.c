#include "arbiter/receive.h"

#include <errno.h>
#include <sys/socket.h>

#include "arbiter/intake.h"
#include "arbiter/refusal.h"
#include "base/clock.h"

/* The peer sends nothing more. Inside a request that is a fault, between requests the end
 * of the connection. */
static void end_of_input(session *s) {
    s->eof = true;
    if (session_is_hung_up(s))
        session_abandon(s);
    else if (s->state == SESSION_READING || s->state == SESSION_GATHERING)
        refuse_fault(s, DIRTY_WIRE_TRUNCATED);
    else
        session_close(s);
}

/* A request has begun, and is not here whole. */
static void wait_for_more(session *s) {
    uint32_t ms = s->a->o->recv_timeout_ms;
    if (s->state == SESSION_IDLE) {
        session_set_state(s, SESSION_READING);
        session_wake_at(s, ms ? s->request.arrived_ns + ms * DIRTY_NS_PER_MS : 0);
    }
    if (s->eof)
        end_of_input(s);
    else
        session_poll(s, SESSION_INPUT);
}

/* The first bytes go to the arbiter's scratch, so that a request that is dispatched at
 * once is never copied. */
void receive_request(session *s) {
    arbiter *a = s->a;
    bool fresh = s->in.len == 0;
    if (s->looking)
        return; /* its turn comes in the step */
    if (!fresh && dirty_buf_reserve(&s->in, DIRTY_HEAD_BYTES_MAX - s->in.len) < 0) {
        session_fail(s);
        return;
    }
    uint8_t *at = fresh ? a->scratch : s->in.base + s->in.len;
    ssize_t n = recv(s->fd, at, DIRTY_HEAD_BYTES_MAX - s->in.len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        session_close(s);
        return;
    }
    if (n == 0) {
        end_of_input(s);
        return;
    }
    const uint8_t *bytes = fresh ? a->scratch : s->in.base;
    size_t len = s->in.len + (size_t)n;
    if (!fresh)
        s->in.len = len;
    if (s->state == SESSION_IDLE)
        s->request.arrived_ns = dirty_now_ns();
    if (intake_look(s, bytes, len, len >= DIRTY_HEAD_BYTES_MAX) == INTAKE_TAKEN)
        return;
    if (fresh)
        dirty_buf_append(&s->in, bytes, len);
    if (dirty_buf_failed(&s->in))
        session_fail(s);
    else
        wait_for_more(s);
}

void receive_next(session *s) {
    if (s->state != SESSION_IDLE)
        return;
    if (s->in.len == 0) {
        end_of_input(s);
        return;
    }
    bool full = s->in.len >= DIRTY_HEAD_BYTES_MAX;
    s->request.arrived_ns = dirty_now_ns();
    if (intake_look(s, s->in.base, s->in.len, full) == INTAKE_MORE)
        wait_for_more(s);
}

/* Taking it early costs nothing, as it has to be read anyway: often the answer was sent
 * and the lane's DONE is about to come. */
void receive_early(session *s) {
    size_t room = DIRTY_HEAD_BYTES_MAX - s->in.len;
    ssize_t n = room > 0 ? recv(s->fd, s->a->scratch, room, MSG_DONTWAIT) : -1;
    if (n > 0)
        dirty_buf_append(&s->in, s->a->scratch, (size_t)n);
    if (n == 0)
        s->eof = true;
    if (n > 0 && s->in.len < DIRTY_HEAD_BYTES_MAX && !dirty_buf_failed(&s->in))
        return;
    if (session_is_hung_up(s))
        session_hung_up(s);
    else
        session_poll(s, UV_PRIORITIZED);
}

void receive_rest(session *s) {
    session_request *r = &s->request;
    switch (upload_receive(s->a, &r->upload, s->fd, r->frame_len)) {
    case UPLOAD_MORE: break;
    case UPLOAD_WHOLE:
        r->whole = true;
        session_wait(s);
        break;
    case UPLOAD_END: end_of_input(s); break;
    case UPLOAD_FULL: refuse_upload(s); break;
    case UPLOAD_BROKEN: session_close(s); break;
    }
}
