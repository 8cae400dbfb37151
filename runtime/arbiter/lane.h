/* lane: the arbiter's end of one lane: its channel, its baton page, the request it has.
 *
 * A lane is idle (in arbiter.idle), or has a request: `busy`, until its DONE comes or its
 * worker is reaped. `session` is the connection the request came from, NULL once the
 * arbiter has answered in the lane's stead or the session is gone. */
#ifndef DIRTY_ARBITER_LANE_H
#define DIRTY_ARBITER_LANE_H

#include "arbiter/state.h"
#include "wire/code.h"
#include "wire/request.h"

struct lane {
    worker *worker;
    uint32_t number;   /* in its worker, 0.. */
    lane *prev, *next; /* of arbiter.idle */
    int fd;            /* our end of the channel, -1 before it is open */
    dirty_lane_page *page;
    uv_poll_t poll;
    bool poll_open;
    bool ready;              /* it said READY */
    bool boot_failed;        /* it said BOOT_FAILED */
    bool busy;               /* a DISPATCH is out */
    bool in_idle;            /* linked in arbiter.idle */
    uv_timer_t timer;        /* drives an interrupt, until the lane is done or killed */
    dirty_code interrupted;  /* why the running request was interrupted, 0: it was not */
    uint64_t seize_ns;       /* when we answer in its stead and kill */
    uint64_t grace_until_ns; /* of the interrupt: the app is not killed before */
    bool late;               /* it answered but has not said DONE for a while */
    uint64_t seq;
    session *session;           /* may be NULL while busy */
    app *app;                   /* of the request at hand, for status and the log */
    const dirty_app_spec *spec; /* of it, by the worker's plan */
    uint64_t started_ns;
    uint64_t queue_ns; /* how long the request had waited */
    uint64_t served;
    pid_t caller_pid;
    char action[DIRTY_NAME_MAX + 1];
};

/* Begin to listen to the channel of a lane whose fd and page are set. 0 or negative. */
int lane_open(lane *l);

/* Stop listening, close the channel, unmap the page. The uv handle closes later: done_cb
 * of the worker counts it. */
void lane_close(lane *l, uv_close_cb closed);

/* Find a lane that is ready, free and hosts the app; NULL if there is none. */
lane *lane_find(arbiter *a, const app *p);

typedef enum lane_send_result {
    LANE_SENT,
    LANE_LOST, /* its worker has died, or is broken and killed: it is not idle any more */
    LANE_LATER /* the kernel is short of something; idle lanes are tried again soon */
} lane_send_result;

/* Send the session's request, `len` bytes of which are in `bytes`, to an idle lane. Only
 * LANE_SENT has sent anything. */
lane_send_result lane_dispatch(lane *l, session *s, const uint8_t *bytes, size_t len);

/* A lane that has nothing to do: give it the best waiting request, or note it as idle. */
void lane_pull(lane *l);

/* A request waits that was not offered to the lanes that are idle: offer it. */
void lanes_rematch(arbiter *a);

/* Take it from the idle list: its worker drains or dies. */
void lane_retire(lane *l);

/* Cut the link between the lane and the session of its request. */
void lane_detach(lane *l);

/* The session ends while the lane has its request: it must be done soon, or is killed. */
void lane_abandon(lane *l);

/* End the running request with TIMEOUT or CANCELLED: the lane is interrupted, by a signal
 * that is sent again every 10 ms, and answers itself; if it has not left the app within
 * timeout_grace, we answer in its stead and its worker is killed. Idempotent. */
void lane_interrupt(lane *l, dirty_code reason);

/* The caller has hung up: a stream, or a call of an app that wants it, is cancelled. */
void lane_caller_gone(lane *l);

/* Ask the running call for its traceback; it comes into the page. False: none runs. */
bool lane_ask_stack(lane *l);

/* Answer SHUTDOWN in the lane's stead. */
void lane_shutdown(lane *l);

/* Read all messages that are in the channel. */
void lane_drain_channel(lane *l);

/* Its worker is reaped and its channel drained: settle the request it had. */
void lane_settle(lane *l, int wait_status);

#endif
