/* The states of a session: which follows which, and what each of them holds. */
#include "arbiter/session.h"

#include <sys/socket.h>
#include <utlist.h>

#include "arbiter/lane.h"
#include "base/log.h"

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
                            1 << SESSION_GATHERING | 1 << SESSION_ANSWERING |
                            1 << SESSION_LINGER | 1 << SESSION_CLOSING,
        [SESSION_GATHERING] = 1 << SESSION_QUEUED | 1 << SESSION_ANSWERING |
                              1 << SESSION_LINGER | 1 << SESSION_CLOSING,
        [SESSION_ANSWERING] =
            1 << SESSION_IDLE | 1 << SESSION_LINGER | 1 << SESSION_CLOSING,
        [SESSION_LINGER] = 1 << SESSION_CLOSING,
        [SESSION_CLOSING] = 0,
    };
    return edges[from] >> to & 1;
}

void session_stop_looking(session *s) {
    if (s->looking)
        DL_DELETE2(s->a->looks, s, look_prev, look_next);
    s->looking = false;
}

/* Give back what the present state holds. */
static void leave(session *s, session_state to) {
    arbiter *a = s->a;
    switch (s->state) {
    case SESSION_IDLE:
        DL_DELETE2(a->idle_sessions, s, spare_prev, spare_next);
        session_stop_looking(s);
        break;
    case SESSION_QUEUED: app_dequeue(a, &s->request); break;
    case SESSION_RUNNING:
        if (s->request.lane != NULL && to == SESSION_CLOSING)
            lane_abandon(s->request.lane);
        else if (s->request.lane != NULL)
            lane_detach(s->request.lane);
        break;
    case SESSION_LINGER: DL_DELETE2(a->lingering, s, spare_prev, spare_next); break;
    case SESSION_READING:
    case SESSION_GATHERING:
    case SESSION_ANSWERING:
    case SESSION_CLOSING: break;
    }
}

static void close_handles(session *s) {
    s->wake_ns = 0;
    s->a->closing_count++;
    upload_close(s->a, &s->request.upload);
    uv_close((uv_handle_t *)&s->poll, s->closed);
    uv_close((uv_handle_t *)&s->timer, s->closed);
}

/* Take what the state that has begun holds. */
static void enter(session *s) {
    arbiter *a = s->a;
    switch (s->state) {
    case SESSION_IDLE:
        request_reset(a, &s->request);
        DL_APPEND2(a->idle_sessions, s, spare_prev, spare_next);
        break;
    case SESSION_QUEUED: app_enqueue(a, &s->request); break;
    case SESSION_LINGER: DL_APPEND2(a->lingering, s, spare_prev, spare_next); break;
    case SESSION_CLOSING: close_handles(s); break;
    case SESSION_READING:
    case SESSION_RUNNING:
    case SESSION_GATHERING:
    case SESSION_ANSWERING: break;
    }
}

void session_enter_first(session *s) {
    enter(s);
}

/* An edge that is not there is a bug of ours, which shall cost this connection alone. */
bool session_set_state(session *s, session_state to) {
    if (s->state == SESSION_CLOSING)
        return false;
    if (!edge_is_legal(s->state, to)) {
        dirty_log(DIRTY_LOG_ERROR, "internal error: a connection is closed",
                  "session_state=%d next=%d", (int)s->state, (int)to);
        shutdown(s->fd, SHUT_RDWR);
        to = SESSION_CLOSING;
    }
    leave(s, to);
    s->state = to;
    enter(s);
    return to != SESSION_CLOSING;
}
