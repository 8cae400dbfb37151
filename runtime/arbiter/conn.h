/* conn: one client connection.
 *
 *                  first bytes           whole, or buffer full
 *        IDLE ────────────────► READING ──────────────┬────────► QUEUED ◄───────┐
 *         ▲  ▲                     │                  │             │ a lane    │ whole
 *         │  └──── done, keep ─────┼──────────────────▼─────────────▼  is free  │
 *         │                        │               RUNNING ───────────────► GATHERING
 *         │                        │                  │   a long request whose    │
 *         └─── flushed ── ANSWERING ◄── refused, whole┤   sender is slow          │
 *                                  ▼                  ▼ done, drain               │
 *                         LINGER: answer out, input discarded, then CLOSING ◄─────┘
 *
 * In RUNNING a lane holds a duplicate of the connection. The arbiter writes only while no
 * lane may write: in every other state, and in RUNNING after it has won the baton. Each
 * connection has one request in flight. Bytes of later requests wait in `in` (bounded)
 * and in the kernel.
 *
 * Ending: conn_close sets the state to CLOSING. After that every call on the connection
 * does nothing. A state may hold a place in a queue, the link to a lane or a place in a
 * list. Only conn_state.c acquires these on entry and releases them on exit. The memory
 * is freed when the handles have closed, never in the turn of the loop that ended the
 * connection. So a caller may keep using its pointer and finds the connection CLOSING. */
#ifndef DIRTY_ARBITER_CONN_H
#define DIRTY_ARBITER_CONN_H

#include "arbiter/app.h"
#include "arbiter/request.h"
#include "arbiter/internal.h"
#include "base/buf.h"

typedef enum conn_state {
    CONN_IDLE,      /* waits for the first bytes of a request */
    CONN_SHARED,    /* idle lanes may take its requests themselves (shared_conns.h) */
    CONN_READING,   /* part of a request was read */
    CONN_QUEUED,    /* waits for a lane */
    CONN_RUNNING,   /* a lane has the request */
    CONN_GATHERING, /* the arbiter receives the rest into a file (upload.h) */
    CONN_ANSWERING, /* the arbiter's own answer is not fully sent */
    CONN_LINGER,    /* flushes, shuts down, discards input until the peer closes */
    CONN_CLOSING    /* its handles are closing; the last one frees it */
} conn_state;

struct conn {
    arbiter *a;
    conn *prev, *next;             /* in arbiter.conns */
    conn *spare_prev, *spare_next; /* in arbiter.idle_conns or arbiter.lingering */
    conn *look_prev, *look_next;   /* in arbiter.looks */
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    int fd;
    uv_close_cb closed; /* close callback of both handles */
    conn_state state;
    int polled;        /* libuv events polled now */
    bool eof;          /* the peer has shut down its sending side */
    bool gone;         /* the peer has hung up */
    bool watched;      /* hangup_watch reports its hang-up */
    bool looking;      /* linked in arbiter.looks: the step will read `in` */
    bool cut_off;      /* the rest of its request can't come: conn_let_go */
    uint64_t wake_ns;  /* deadline of the present state, 0: none */
    uint64_t timer_ns; /* when the timer will fire, 0: not armed */

    /* Sharing: */
    uint32_t slot, ticket; /* on the board; slot 0: not shared */
    bool was_shared;       /* lanes may have copies of its descriptor */
    uint32_t fits;         /* requests in a row that a lane could have taken itself */
    uint32_t fits_needed;  /* it is shared after so many */
    uint32_t served_then;  /* the board's count at the last of them */
    uint32_t bounces;      /* in a row that a lane gave back */
    uint64_t seen_word;    /* ready_lanes: the word when it was seen to have input */
    uint64_t seen_ns;      /* ready_lanes: and the time, 0: it was not */

    dirty_buf in;     /* bytes that were read but not passed to a lane */
    dirty_buf out;    /* answer bytes to send */
    size_t discarded; /* input bytes discarded in LINGER */
    request request;  /* the current one; reset on entry to IDLE */
};

/* Allocate the memory of the next connection before accept(). Returns 0 or -ENOMEM. */
int conn_prepare(arbiter *a);

/* Create a connection for `fd`, an accepted, non-blocking descriptor. Requires
 * conn_prepare. Returns 0 with *out set, or a negative code after closing fd. */
int conn_open(arbiter *a, int fd, conn **out);

/* End the connection in both directions now. Allowed in any state and more than once.
 * The memory is freed in a later turn of the loop. */
void conn_close(conn *c);

/* End an idle or lingering connection to make room. Uses close(2) without shutdown(2):
 * a caller that is just sending a request gets EPIPE or ECONNRESET and may send it
 * again. */
void conn_evict(conn *c);

/* If the connection is idle, end it so that its peer can tell that no request is lost:
 * its next write gets EPIPE. A request that has come is served first. */
void conn_let_go(conn *c);

/* Has the peer sent bytes that no lane has? They are in `in` or in the kernel. */
bool conn_has_input(const conn *c);

/* Has the peer hung up? Costs a system call. */
bool conn_is_hung_up(const conn *c);

/* Drop the connection and its waiting request because the peer hung up. */
void conn_abandon(conn *c);

/* End the connection because memory ran out, and log it. The caller gets an OVERLOADED
 * error if the request has an id and no lane has it. */
void conn_fail(conn *c);

/* Queue the request, for which no lane is idle. Its bytes are in `in` or in its
 * upload. */
void conn_wait(conn *c);

/* Queue a request that a lane has had. Since then a lane may have become idle, or the
 * app may have been removed. */
void conn_wait_again(conn *c);

/* Note that a lane took the request with the first `used` bytes of `in`. */
void conn_running(conn *c, size_t used);

/* Queue the request again after a lane returned it unstarted, with the bytes that the
 * lane had. */
void conn_returned(conn *c, const uint8_t *bytes, size_t len);

/* Receive the rest of a request that a lane returned because its sender is slow. Takes
 * ownership of `fd`, a file with the `len` bytes received so far. */
void conn_stalled(conn *c, int fd, size_t len);

/* SHARED: the arbiter owns it again, and a lane had already received `len` bytes of it.
 * Read on. */
void conn_bounced(conn *c, const uint8_t *bytes, size_t len);

/* SHARED: a lane runs a request of it, which the arbiter has adopted. */
void conn_adopted(conn *c);

/* Continue or end after the lane is done. `end` is a dirty_connection_end. */
void conn_done(conn *c, int end);

/* Send `frame` (copied) as the answer to the current request. The connection then
 * continues if `keep` is true and the request was read whole. Otherwise it lingers and
 * closes. */
void conn_answer(conn *c, const void *frame, size_t len, bool keep);

/* Look once at each connection in arbiter.looks. Runs once per turn of the loop. */
void conns_step(arbiter *a);

/* -- For conn_state.c and dispatch.c --------------------------------------------- */

/* Acquire what the initial state, IDLE, holds. */
void conn_enter_first(conn *c);

/* Remove the connection, which is in arbiter.looks, from there. */
void conn_stop_looking(conn *c);

/* Change the state: release what the old state holds and acquire what the new one
 * holds. Returns false if the connection is CLOSING; then nothing changes. */
bool conn_set_state(conn *c, conn_state to);

/* Poll for exactly `events`. CONN_INPUT reports input and the peer's shutdown. */
#define CONN_INPUT (UV_READABLE | UV_DISCONNECT)
void conn_poll(conn *c, int events);

/* Poll for nothing and watch for a hang-up. */
void conn_watch_hangup(conn *c);

/* Start the timer for wake_ns. */
void conn_arm_timer(conn *c);

/* Set the deadline of the current state. 0: none. The timer stays armed if the deadline
 * moves later or is cleared, and checks again when it fires. So requests that are
 * answered in time cost no timer operation. */
static inline void conn_wake_at(conn *c, uint64_t wake_ns) {
    c->wake_ns = wake_ns;
    if (wake_ns != 0 && (c->timer_ns == 0 || c->timer_ns > wake_ns))
        conn_arm_timer(c);
}

/* Handle a hang-up of the peer while its request waits or runs. */
void conn_hung_up(conn *c);

#endif
