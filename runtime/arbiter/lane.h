/* lane: the arbiter's end of one lane: its channel, its baton page, the request it has.
 *
 * A lane is idle (in arbiter.idle), or has a request: `busy`, until its DONE comes or its
 * worker is reaped. `request` is NULL once the arbiter has answered in the lane's stead
 * or the connection is gone. What a lane says goes to arbiter.lane_events. */
#ifndef DIRTY_ARBITER_LANE_H
#define DIRTY_ARBITER_LANE_H

#include "arbiter/plan.h"
#include "arbiter/request.h"
#include "arbiter/internal.h"
#include "base/channel.h"
#include "wire/code.h"
#include "wire/request.h"

/* How long a lane that was reading may take to see that its connection has ended. */
#define LANE_EXIT_MS 5000

struct lane {
    arbiter *a;
    worker *worker;
    uint32_t worker_number; /* of its slot */
    pid_t worker_pid;
    bool ended;        /* its worker was killed, or is reaped */
    const plan *plan;  /* of its worker */
    const deal *deal;  /* of its worker */
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
    request *request;           /* may be NULL while busy */
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

/* Stop listening, close the channel, unmap the page. The uv handle closes later
 * and calls `closed`. */
void lane_close(lane *l, uv_close_cb closed);

/* What a lane has said, or what has become of its channel. `r` is the request that it had
 * until now, NULL: that was answered, or its caller is gone. */
struct lane_events {
    void (*ready)(lane *l);
    void (*boot_failed)(lane *l, const char *text, size_t len);
    void (*done)(lane *l, request *r, const dirty_msg_done *m);
    /* It could not take the descriptor: the request, whose first bytes these are, is
     * unstarted. */
    void (*returned)(lane *l, request *r, const uint8_t *bytes, size_t len);
    /* The request's sender is slow: `file`, which is the callee's, has what has come. */
    void (*stalled)(lane *l, request *r, int file, size_t len);
    void (*broken)(lane *l, const char *what); /* it breaks the rules of the channel */
    void (*ended)(lane *l);                    /* its channel has */
    void (*overdue)(lane *l); /* it was interrupted, and its grace is over */
};

typedef enum lane_send_result {
    LANE_SENT,
    LANE_LOST,  /* its worker has died: its channel has ended */
    LANE_LATER, /* the kernel is short of something; idle lanes are tried again soon */
    LANE_BROKEN /* its channel can't be used */
} lane_send_result;

/* Send the request, `len` bytes of which are in `bytes`, to an idle lane. Only LANE_SENT
 * has sent anything. */
lane_send_result lane_send(lane *l, request *r, const uint8_t *bytes, size_t len);

/* Note that it is ready and free. */
void lane_note_idle(lane *l);

/* Take it from the idle list: its worker drains or dies. */
void lane_retire(lane *l);

/* Cut the link between the lane and its request. */
void lane_detach(lane *l);

/* Count the request that it had, and note it in the slow log if it took that long. */
void lane_count(lane *l, dirty_code outcome, uint64_t run_ns);

/* Take the baton of a request that the lane has not begun: it never starts. False: it has
 * begun. */
bool lane_take_unstarted(lane *l);

/* The connection ends while the lane has its request. If the lane does not report DONE
 * soon, its worker is killed. */
void lane_abandon(lane *l);

/* End the running request with TIMEOUT or CANCELLED: the lane is interrupted, by a signal
 * that is sent again every 10 ms, and answers itself; if it has not left the app within
 * timeout_grace, it is overdue. Idempotent. */
void lane_interrupt(lane *l, dirty_code reason);

/* Send the interrupt once more, if the app runs and lets itself be interrupted. */
void lane_interrupt_again(const lane *l);

/* The caller has hung up: a stream, or a call of an app that wants it, is cancelled. */
void lane_caller_gone(lane *l);

/* Ask the running call for its traceback; it comes into the page. False: none runs. */
bool lane_ask_stack(lane *l);

/* Read all messages that are in the channel. */
void lane_drain_channel(lane *l);

#endif
