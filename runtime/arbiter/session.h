/* session: one client connection.
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
 * Ending. session_close marks: from then on the session is in CLOSING, and every call on
 * it does nothing. What a state holds (a place in a queue, the link to a lane, a list) is
 * taken when the state is entered and given back when it is left, in session_state.c
 * alone. Its memory goes with its handles, never within the turn of the loop that ended
 * it: who holds a pointer may go on to use it, and finds it ended. */
#ifndef DIRTY_ARBITER_SESSION_H
#define DIRTY_ARBITER_SESSION_H

#include "arbiter/app.h"
#include "arbiter/request.h"
#include "arbiter/state.h"
#include "base/buf.h"

typedef enum session_state {
    SESSION_IDLE,      /* between requests */
    SESSION_READING,   /* a request has begun to come */
    SESSION_QUEUED,    /* it waits for a lane */
    SESSION_RUNNING,   /* it was handed to a lane */
    SESSION_GATHERING, /* a lane gave it back: we receive the rest of it (upload.h) */
    SESSION_ANSWERING, /* our own answer is not yet out */
    SESSION_LINGER,    /* the end: flush, shut down, discard input for a while */
    SESSION_CLOSING    /* ended: handles are closing, memory goes with the last */
} session_state;

struct session {
    arbiter *a;
    session *prev, *next;             /* of arbiter.sessions */
    session *spare_prev, *spare_next; /* of arbiter.idle_sessions or .lingering */
    session *look_prev, *look_next;   /* of arbiter.looks */
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    int fd;
    uv_close_cb closed; /* of each handle */
    session_state state;
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

/* Have the memory of the next session at hand, before its connection is accepted. 0, or
 * -ENOMEM. */
int session_prepare(arbiter *a);

/* Take over an accepted, non-blocking descriptor, after session_prepare. 0 with *out, or
 * a negative code (fd closed). */
int session_open(arbiter *a, int fd, session **out);

/* End it now: no more bytes in either direction. Any state, any number of times; its
 * memory is freed in a later turn of the loop. */
void session_close(session *s);

/* End one that is idle or lingers to make room for others. By close(2) alone, so that a
 * caller who is just sending a request sees EPIPE or ECONNRESET and may send it again. */
void session_evict(session *s);

/* Whether bytes of its next request have come that were not read yet. */
bool session_has_input(const session *s);

/* Whether its peer has hung up. A system call. */
bool session_is_hung_up(const session *s);

/* Its peer has hung up while its request waited: drop both. */
void session_abandon(session *s);

/* There is no memory for what it needs: say so in the log, tell the caller if its request
 * has come so far that it has an id and no lane has it, and end it. */
void session_fail(session *s);

/* Hand it to the queue: it waits for a lane with the bytes in `in`, or in its upload. */
void session_wait(session *s);

/* The request went to a lane; the first `used` bytes of `in` went with it. */
void session_running(session *s, size_t used);

/* A lane gave the request back unstarted, with the bytes it had got: it waits again. */
void session_returned(session *s, const uint8_t *bytes, size_t len);

/* A lane gave the request back because its rest does not come. `fd`, which becomes ours,
 * is the file with the `len` bytes that are here. */
void session_stalled(session *s, int fd, size_t len);

/* The lane is done with it; `end` is a dirty_connection_end. */
void session_done(session *s, int end);

/* Send `frame` (copied) as the answer to the request in hand; afterwards the connection
 * goes on if the request was read whole and `keep`, else it ends softly. */
void session_answer(session *s, const void *frame, size_t len, bool keep);

/* Once per turn of the loop: every connection whose next request has been read already
 * gets one look at it. */
void sessions_step(arbiter *a);

/* -- For session_state.c and dispatch.c, which reads requests -- */

/* Take what its first state, IDLE, holds. */
void session_enter_first(session *s);

/* Take it from arbiter.looks. Idempotent. */
void session_stop_looking(session *s);

/* Go to another state: gives back what the former holds and takes what the next one does.
 * False: it has ended, nothing changes any more. */
bool session_set_state(session *s, session_state to);

/* Poll for exactly these events. SESSION_INPUT: input, and the peer's end of it. Fires on
 * a hang-up alone: UV_PRIORITIZED. */
#define SESSION_INPUT (UV_READABLE | UV_DISCONNECT)
void session_poll(session *s, int events);

/* Let its state's deadline pass at `wake_ns`, 0: never. */
void session_wake_at(session *s, uint64_t wake_ns);

/* The peer has hung up while its request is in a lane's hands. */
void session_hung_up(session *s);

#endif
