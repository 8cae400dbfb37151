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
 * lane may: in every other state, and in RUNNING after it has won the baton. One request
 * is in flight per connection; bytes that come behind it wait in `in` (bounded) and in
 * the kernel.
 *
 * Ending. conn_close marks: from then on the connection is in CLOSING, and every call on
 * it does nothing. What a state holds (a place in a queue, the link to a lane, a list) is
 * taken when the state is entered and given back when it is left, in conn_state.c
 * alone. Its memory goes with its handles, never within the turn of the loop that ended
 * it: who holds a pointer may go on to use it, and finds it ended. */
#ifndef DIRTY_ARBITER_CONN_H
#define DIRTY_ARBITER_CONN_H

#include "arbiter/app.h"
#include "arbiter/request.h"
#include "arbiter/internal.h"
#include "base/buf.h"

typedef enum conn_state {
    CONN_IDLE,      /* between requests */
    CONN_READING,   /* a request has begun to come */
    CONN_QUEUED,    /* it waits for a lane */
    CONN_RUNNING,   /* it was handed to a lane */
    CONN_GATHERING, /* a lane gave it back: we receive the rest of it (upload.h) */
    CONN_ANSWERING, /* our own answer is not yet out */
    CONN_LINGER,    /* the end: flush, shut down, discard input for a while */
    CONN_CLOSING    /* ended: handles are closing, memory goes with the last */
} conn_state;

struct conn {
    arbiter *a;
    conn *prev, *next;             /* of arbiter.conns */
    conn *spare_prev, *spare_next; /* of arbiter.idle_conns or .lingering */
    conn *look_prev, *look_next;   /* of arbiter.looks */
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    int fd;
    uv_close_cb closed; /* of each handle */
    conn_state state;
    int polled;        /* events polled for now */
    bool eof;          /* the peer has shut down its sending side */
    bool gone;         /* the peer has hung up */
    bool looking;      /* in arbiter.looks: its `in` is to be looked at in this turn */
    uint64_t wake_ns;  /* deadline of the present state, 0: none */
    uint64_t timer_ns; /* when the timer will fire, 0: not armed */

    dirty_buf in;     /* bytes read and not passed on: a request's first, or early ones */
    dirty_buf out;    /* answer bytes not yet sent */
    size_t discarded; /* input bytes thrown away in LINGER */
    request request;  /* the one in hand; entering IDLE resets it */
};

/* Have the memory of the next connection at hand, before its connection is accepted. 0,
 * or -ENOMEM. */
int conn_prepare(arbiter *a);

/* Take over an accepted, non-blocking descriptor, after conn_prepare. 0 with *out, or
 * a negative code (fd closed). */
int conn_open(arbiter *a, int fd, conn **out);

/* End it now: no more bytes in either direction. Any state, any number of times; its
 * memory is freed in a later turn of the loop. */
void conn_close(conn *c);

/* End one that is idle or lingers to make room for others. By close(2) alone, so that a
 * caller who is just sending a request sees EPIPE or ECONNRESET and may send it again. */
void conn_evict(conn *c);

/* Whether bytes of its next request have come that were not read yet. */
bool conn_has_input(const conn *c);

/* Whether its peer has hung up. A system call. */
bool conn_is_hung_up(const conn *c);

/* Its peer has hung up while its request waited: drop both. */
void conn_abandon(conn *c);

/* There is no memory for what it needs: say so in the log, tell the caller if its request
 * has come so far that it has an id and no lane has it, and end it. */
void conn_fail(conn *c);

/* Hand it to the queue: it waits for a lane with the bytes in `in`, or in its upload. */
void conn_wait(conn *c);

/* The request went to a lane; the first `used` bytes of `in` went with it. */
void conn_running(conn *c, size_t used);

/* A lane gave the request back unstarted, with the bytes it had got: it waits again. */
void conn_returned(conn *c, const uint8_t *bytes, size_t len);

/* A lane gave the request back because its rest does not come. `fd`, which becomes ours,
 * is the file with the `len` bytes that are here. */
void conn_stalled(conn *c, int fd, size_t len);

/* The lane is done with it; `end` is a dirty_connection_end. */
void conn_done(conn *c, int end);

/* Send `frame` (copied) as the answer to the request in hand; afterwards the connection
 * goes on if the request was read whole and `keep`, else it ends softly. */
void conn_answer(conn *c, const void *frame, size_t len, bool keep);

/* Once per turn of the loop: every connection whose next request has been read already
 * gets one look at it. */
void conns_step(arbiter *a);

/* -- For conn_state.c and dispatch.c, which reads requests ----------------------- */

/* Take what its first state, IDLE, holds. */
void conn_enter_first(conn *c);

/* Take it from arbiter.looks. Idempotent. */
void conn_stop_looking(conn *c);

/* Go to another state: gives back what the former holds and takes what the next one does.
 * False: it has ended, nothing changes any more. */
bool conn_set_state(conn *c, conn_state to);

/* Poll for exactly these events. CONN_INPUT: input, and the peer's end of it. Fires on
 * a hang-up alone: UV_PRIORITIZED. */
#define CONN_INPUT (UV_READABLE | UV_DISCONNECT)
void conn_poll(conn *c, int events);

/* Let its state's deadline pass at `wake_ns`, 0: never. */
void conn_wake_at(conn *c, uint64_t wake_ns);

/* The peer has hung up while its request is in a lane's hands. */
void conn_hung_up(conn *c);

#endif
