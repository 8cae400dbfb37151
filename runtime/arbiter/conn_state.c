/* States of a connection: the allowed transitions, and what each state holds. */
#include "arbiter/conn.h"

#include <sys/socket.h>
#include <utlist.h>

#include "arbiter/hangup_watch.h"
#include "arbiter/lane.h"
#include "arbiter/shared_conns.h"
#include "base/log.h"

static bool edge_is_legal(conn_state from, conn_state to) {
    static const uint16_t edges[] = {
        [CONN_IDLE] = 1 << CONN_SHARED | 1 << CONN_READING | 1 << CONN_QUEUED |
                      1 << CONN_RUNNING | 1 << CONN_ANSWERING | 1 << CONN_LINGER |
                      1 << CONN_CLOSING,
        [CONN_SHARED] = 1 << CONN_IDLE | 1 << CONN_RUNNING | 1 << CONN_CLOSING,
        [CONN_READING] = 1 << CONN_QUEUED | 1 << CONN_RUNNING | 1 << CONN_ANSWERING |
                         1 << CONN_LINGER | 1 << CONN_CLOSING,
        [CONN_QUEUED] = 1 << CONN_RUNNING | 1 << CONN_ANSWERING | 1 << CONN_LINGER |
                        1 << CONN_CLOSING,
        [CONN_RUNNING] = 1 << CONN_IDLE | 1 << CONN_QUEUED | 1 << CONN_GATHERING |
                         1 << CONN_ANSWERING | 1 << CONN_LINGER | 1 << CONN_CLOSING,
        [CONN_GATHERING] =
            1 << CONN_QUEUED | 1 << CONN_ANSWERING | 1 << CONN_LINGER | 1 << CONN_CLOSING,
        [CONN_ANSWERING] = 1 << CONN_IDLE | 1 << CONN_LINGER | 1 << CONN_CLOSING,
        [CONN_LINGER] = 1 << CONN_CLOSING,
        [CONN_CLOSING] = 0,
    };
    return edges[from] >> to & 1;
}

void conn_stop_looking(conn *c) {
    DL_DELETE2(c->a->looks, c, look_prev, look_next);
    c->looking = false;
}

/* Release what the current state holds. */
static void leave(conn *c, conn_state to) {
    arbiter *a = c->a;
    switch (c->state) {
    case CONN_IDLE:
        DL_DELETE2(a->idle_conns, c, spare_prev, spare_next);
        if (c->looking)
            conn_stop_looking(c);
        break;
    case CONN_QUEUED: app_dequeue(a, &c->request); break;
    case CONN_RUNNING:
        if (c->request.lane != NULL && to == CONN_CLOSING)
            lane_abandon(c->request.lane);
        else if (c->request.lane != NULL)
            lane_detach(c->request.lane);
        if (c->slot != 0)
            shared_conns_seize(c);
        break;
    case CONN_LINGER: DL_DELETE2(a->lingering, c, spare_prev, spare_next); break;
    case CONN_SHARED:
    case CONN_READING:
    case CONN_GATHERING:
    case CONN_ANSWERING:
    case CONN_CLOSING: break;
    }
}

/* Lanes must not take it: its input is no sequence of short requests any more. */
static void stop_sharing(conn *c) {
    if (c->slot != 0)
        shared_conns_remove(c);
}

static void close_handles(conn *c) {
    c->wake_ns = 0;
    c->a->closing_count++;
    stop_sharing(c);
    hangup_watch_remove(c);
    upload_close(c->a, &c->request.upload);
    uv_close((uv_handle_t *)&c->poll, c->closed);
    uv_close((uv_handle_t *)&c->timer, c->closed);
}

static void enter_idle(conn *c) {
    arbiter *a = c->a;
    request_reset(a, &c->request);
    DL_APPEND2(a->idle_conns, c, spare_prev, spare_next);
}

/* Acquire what the new state holds. */
static void enter(conn *c) {
    arbiter *a = c->a;
    switch (c->state) {
    case CONN_IDLE: enter_idle(c); break;
    case CONN_QUEUED: app_enqueue(a, &c->request); break;
    case CONN_LINGER:
        stop_sharing(c);
        DL_APPEND2(a->lingering, c, spare_prev, spare_next);
        break;
    case CONN_CLOSING: close_handles(c); break;
    case CONN_READING:
    case CONN_GATHERING: stop_sharing(c); break;
    case CONN_SHARED:
    case CONN_RUNNING:
    case CONN_ANSWERING: break;
    }
}

void conn_enter_first(conn *c) {
    enter_idle(c);
}

/* An unknown edge is a bug in the arbiter. It must end only this connection. Not inlined,
 * so that legal edges don't pay for its arguments. */
static __attribute__((noinline, cold)) void report_edge(const conn *c, conn_state to) {
    dirty_log(DIRTY_LOG_ERROR, "internal error: closing a connection",
              "session_state=%d next=%d", (int)c->state, (int)to);
    shutdown(c->fd, SHUT_RDWR);
}

bool conn_set_state(conn *c, conn_state to) {
    if (c->state == CONN_CLOSING)
        return false;
    if (!edge_is_legal(c->state, to)) {
        report_edge(c, to);
        to = CONN_CLOSING;
    }
    leave(c, to);
    c->state = to;
    enter(c);
    return to != CONN_CLOSING;
}
