/* lane: the arbiter's end of one lane: its channel, its baton page and its request.
 *
 * A lane is idle (in arbiter.idle) or `busy`. It is busy until its DONE comes or its
 * worker is reaped. `request` becomes NULL when the arbiter has answered in the lane's
 * place or the connection has ended. Messages from the lane go to arbiter.lane_events. */
#ifndef DIRTY_ARBITER_LANE_H
#define DIRTY_ARBITER_LANE_H

#include "arbiter/plan.h"
#include "arbiter/request.h"
#include "arbiter/internal.h"
#include "base/call_counts.h"
#include "base/channel.h"
#include "wire/code.h"
#include "wire/request.h"

/* Kill the worker if a lane that was reading a request does not notice within this time
 * that the connection ended. */
#define LANE_EXIT_MS 5000

struct lane {
    arbiter *a;
    worker *worker;
    uint32_t worker_number; /* number of the worker's slot */
    pid_t worker_pid;
    bool ended;        /* the worker was killed or reaped */
    const plan *plan;  /* of its worker */
    const deal *deal;  /* of its worker */
    uint32_t number;   /* index in the worker, from 0 */
    lane *prev, *next; /* of arbiter.idle */
    int fd;            /* our end of the channel, -1 before it is open */
    dirty_lane_page *page;
    uv_poll_t poll;
    bool poll_open;
    bool ready;              /* READY was received */
    bool boot_failed;        /* BOOT_FAILED was received */
    bool busy;               /* has a request: DISPATCH was sent */
    bool in_idle;            /* linked in arbiter.idle */
    uv_timer_t timer;        /* repeats the interrupt until the lane is done or killed */
    dirty_code interrupted;  /* why the request was interrupted, 0: it was not */
    uint64_t seize_ns;       /* when to answer in its place and kill the worker */
    uint64_t grace_until_ns; /* the app is not killed before */
    bool late;               /* it answered a while ago but did not send DONE */
    uint64_t seq;
    request *request;           /* may be NULL while busy */
    app *app;                   /* app of the current request, for status and the log */
    const dirty_app_spec *spec; /* the app's spec in the worker's plan */
    uint64_t started_ns;
    uint64_t queue_ns;         /* how long the request waited */
    uint64_t served;           /* as the lane says in its page */
    bool joined;               /* it serves shared connections too: RESUME was sent */
    bool unsent;               /* it may wait for a DISPATCH that could not be sent */
    bool wanted;               /* page->wanted is set: it sends WANT when it is free */
    uint64_t seen_word;        /* ready_lanes: its baton at the last look */
    uint64_t seen_ns;          /* ready_lanes: since when it has that word */
    uint64_t direct, starved;  /* of its page, as far as they were counted */
    dirty_call_counts *counts; /* owned: what it counts */
    dirty_call_counts *folded; /* owned: what of it was added to the meters */
    pid_t caller_pid;
    char action[DIRTY_NAME_MAX + 1];
};

/* Start to poll the lane's channel. Requires fd and page. Returns 0 or a negative
 * code. */
int lane_open(lane *l);

/* Stop polling, close the channel and unmap the page. The uv handles close later and
 * call `closed`. */
void lane_close(lane *l, uv_close_cb closed);

/* Callbacks for a lane's messages and its channel. `r` is the request that the lane has
 * just released. NULL: it was answered already or its caller is gone. */
struct lane_events {
    void (*ready)(lane *l);
    void (*boot_failed)(lane *l, const char *text, size_t len);
    void (*done)(lane *l, request *r, const dirty_msg_done *m);
    /* The lane could not receive the descriptor. The request is unstarted; `bytes` are
     * its first bytes. */
    void (*returned)(lane *l, request *r, const uint8_t *bytes, size_t len);
    /* The request's sender is slow. `file` has the bytes received so far; the callback
     * owns it. */
    void (*stalled)(lane *l, request *r, int file, size_t len);
    /* The lane serves shared connections: see base/channel.h. */
    void (*bounced)(lane *l, const dirty_msg_bounced *m, const uint8_t *bytes);
    void (*needs)(lane *l, const dirty_msg_connection *m);
    void (*wants)(lane *l);
    void (*started)(lane *l, uint64_t seq);
    void (*broken)(lane *l, const char *what); /* the lane broke the protocol */
    void (*ended)(lane *l);                    /* the channel ended */
    void (*overdue)(lane *l); /* it was interrupted and its grace period is over */
};

typedef enum lane_send_result {
    LANE_SENT,
    LANE_BUSY,  /* it has taken a request itself: it sends WANT when it is free */
    LANE_LOST,  /* its worker died: the channel has ended */
    LANE_LATER, /* the kernel is short of a resource; a timer retries */
    LANE_BROKEN /* its channel is unusable */
} lane_send_result;

/* Send a request to an idle lane. `bytes` are its first `len` bytes. If the result is
 * not LANE_SENT, nothing was sent. */
lane_send_result lane_send(lane *l, request *r, const uint8_t *bytes, size_t len,
                           uint64_t now_ns);

/* Let the lane serve shared connections, or go on after WANT or DONE. */
void lane_resume(lane *l);

/* Send the descriptor of a shared connection, -1: it can't have it. */
void lane_send_copy(lane *l, const dirty_msg_connection *m, int fd);

/* Tell the lane to close its apps and end. Returns 0 or -errno. */
int lane_send_stop(lane *l);

/* Does it have a request, which the arbiter sent or it took itself? */
bool lane_has_call(const lane *l);

/* Link a call that the lane took itself, and that the arbiter has adopted. */
void lane_adopt(lane *l, request *r, uint64_t seq);

/* Put a ready, free lane into the idle list. */
void lane_note_idle(lane *l);

/* Remove the lane from the idle list because its worker drains or dies. */
void lane_retire(lane *l);

/* Cut the link between the lane and its request. */
void lane_detach(lane *l);

/* Count a request of a dead lane that the lane itself can't have counted. */
void lane_count(const lane *l, dirty_code outcome);

/* Add what the lane has counted since the last time to the meters of its apps. */
void lane_fold_counts(lane *l);

/* Take the baton if the lane has not started the request; it then never starts. Returns
 * false if it has started. */
bool lane_take_unstarted(lane *l);

/* Release the connection, which ends while the lane has its request. Kills the worker
 * if the lane does not report DONE soon. */
void lane_abandon(lane *l);

/* End the running request with TIMEOUT or CANCELLED. A signal interrupts the lane and
 * is repeated every 10 ms; the lane answers itself. If it has not left the app within
 * timeout_grace, `overdue` is called. Idempotent. */
void lane_interrupt(lane *l, dirty_code reason);

/* Repeat the interrupt if the app runs and is interruptible. */
void lane_interrupt_again(const lane *l);

/* Handle a hang-up of the caller: cancel a stream, or a call of an app with
 * cancel_on_disconnect. */
void lane_caller_gone(lane *l);

/* Ask the running call for its traceback, which the lane writes into the page. Returns
 * false if no call can be asked. */
bool lane_ask_stack(lane *l);

/* Read all messages in the channel. */
void lane_drain_channel(lane *l);

#endif
