/* session: one client connection.
 *
 *                  first bytes           whole, or buffer full
 *        IDLE ────────────────► READING ──────────────┬────────► QUEUED
 *         ▲  ▲                     │                  │             │ a lane is free
 *         │  └──── done, keep ─────┼──────────────────▼─────────────▼
 *         │                        │               RUNNING (a lane holds a duplicate)
 *         └─── flushed ── ANSWERING ◄── refused, whole ─┤ done, drain
 *                                  ▼                    ▼
 *                         LINGER: answer out, input discarded, then CLOSING
 *
 * The arbiter writes to a connection only while no lane may: in every state but RUNNING,
 * and in RUNNING after it has won the baton. One request is in flight per connection;
 * bytes that come behind it wait in `in` (bounded) and in the kernel. */
#ifndef DIRTY_ARBITER_SESSION_H
#define DIRTY_ARBITER_SESSION_H

#include "arbiter/app.h"
#include "arbiter/state.h"
#include "base/buf.h"

typedef enum session_state {
    SESSION_IDLE,      /* between requests */
    SESSION_READING,   /* a request has begun to come */
    SESSION_QUEUED,    /* it waits for a lane */
    SESSION_RUNNING,   /* it was handed to a lane */
    SESSION_ANSWERING, /* our own answer is not yet out */
    SESSION_LINGER,    /* the end: flush, shut down, discard input for a while */
    SESSION_CLOSING    /* handles are closing, memory goes with the last */
} session_state;

struct session {
    arbiter *a;
    session *prev, *next;             /* of arbiter.sessions */
    session *queue_prev, *queue_next; /* of its app's queue */
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    int fd;
    session_state state;
    int polled; /* events polled for now */
    bool eof;   /* the peer has shut down its sending side */
    bool gone;  /* the peer has hung up */
    pid_t peer_pid;
    uid_t peer_uid;
    uint64_t wake_ns;  /* deadline of the present state, 0: none */
    uint64_t timer_ns; /* when the timer will fire, 0: not armed */

    dirty_buf in;     /* bytes read and not passed on: a request's first, or early ones */
    dirty_buf out;    /* answer bytes not yet sent */
    size_t discarded; /* input bytes thrown away in LINGER */
    bool advancing;   /* the loop over the requests in `in` is under way */

    /* the request in hand, valid from READING (route parsed) to its answer */
    app *app;
    lane *lane; /* in RUNNING, until the baton is taken from it */
    uint64_t id;
    uint32_t frame_len; /* whole request, 0: header not read */
    bool whole;         /* all of it has left the socket by our own reading */
    uint8_t priority;
    uint64_t arrived_ns;
    uint64_t deadline_ns;  /* of the call, 0: none */
    uint64_t recv_left_ns; /* to receive what we did not, 0: no limit */
    uint64_t order;        /* of arrival, over all requests */
    char action[DIRTY_NAME_MAX + 1];
};

/* Have the memory of the next session at hand, before its connection is accepted. 0, or
 * -ENOMEM. */
int session_prepare(arbiter *a);

/* Take over an accepted, non-blocking descriptor, after session_prepare. 0, or a negative
 * code (fd closed). */
int session_open(arbiter *a, int fd);

/* End it now: no more bytes in either direction. Any state; frees it later. */
void session_close(session *s);

/* There is no memory for what it needs: say so in the log, tell the caller if its request
 * has come so far that it has an id and no lane has it, and end it. */
void session_fail(session *s);

/* Hand it to the queue: it waits for a lane with the bytes in `in`. */
void session_wait(session *s);

/* The request went to a lane; the first `used` bytes of `in` went with it. */
void session_running(session *s, size_t used);

/* A lane gave the request back unstarted, with the bytes it had got: it waits again. */
void session_returned(session *s, const uint8_t *bytes, size_t len);

/* The lane is done with it; `end` is a dirty_connection_end. The next request may begin
 * at once, so the caller must not touch the session after. */
void session_done(session *s, int end);

/* Send `frame` (copied) as the answer to the request in hand; afterwards the connection
 * goes on if the request was read whole and `keep`, else it ends softly. */
void session_answer(session *s, const void *frame, size_t len, bool keep);

#endif
