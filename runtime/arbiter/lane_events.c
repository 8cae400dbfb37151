#include "arbiter/lane_events.h"

#include <unistd.h>

#include "arbiter/dispatch.h"
#include "arbiter/conn.h"
#include "arbiter/ready_lanes.h"
#include "arbiter/takeover.h"
#include "arbiter/worker.h"
#include "base/log.h"

static void on_done(lane *l, request *r, const dirty_msg_done *m) {
    worker *w = l->worker;
    dispatch_pull(l);
    if (r != NULL)
        conn_done(r->conn, m->dropped ? DIRTY_CONNECTION_LOST : m->connection);
    worker_look_at_pages(w);
}

/* Replace the worker, which has no free descriptor: that frees descriptors that its
 * apps leaked. */
static void on_returned(lane *l, request *r, const uint8_t *bytes, size_t len) {
    worker *w = l->worker;
    w->a->counters.requeued++;
    dirty_log(DIRTY_LOG_WARN, "worker is out of descriptors and will be replaced",
              "worker=%u worker_pid=%d", l->worker_number, (int)w->pid);
    worker_drain(w);
    if (r != NULL)
        conn_returned(r->conn, bytes, len);
}

static void on_stalled(lane *l, request *r, int file, size_t len) {
    if (r == NULL)
        close(file); /* it has been answered already */
    else
        conn_stalled(r->conn, file, len);
    dispatch_pull(l);
}

/* Kill the worker: a correct lane never breaks the protocol, and this one could repeat
 * it for ever. */
static void on_broken(lane *l, const char *what) {
    worker *w = l->worker;
    if (w->state == WORKER_DYING || w->state == WORKER_DEAD)
        return;
    dirty_log(DIRTY_LOG_WARN, "a lane broke the channel protocol: killing its worker",
              "worker=%u worker_pid=%d lane=%u what=%s", l->worker_number, (int)w->pid,
              l->number, DIRTY_LOG_QUOTE(what));
    worker_kill(w, "channel");
}

static void on_ready(lane *l) {
    worker_lane_ready(l->worker);
}

static void on_boot_failed(lane *l, const char *text, size_t len) {
    worker_boot_failed(l->worker, text, len);
}

static void on_wants(lane *l) {
    if (!l->busy)
        dispatch_pull(l);
}

static void on_ended(lane *l) {
    worker_channel_ended(l->worker);
}

const lane_events arbiter_lane_events = {
    .ready = on_ready,
    .boot_failed = on_boot_failed,
    .done = on_done,
    .returned = on_returned,
    .stalled = on_stalled,
    .bounced = ready_lanes_bounced,
    .needs = ready_lanes_needs,
    .wants = on_wants,
    .started = ready_lanes_started,
    .broken = on_broken,
    .ended = on_ended,
    .overdue = takeover_overdue,
};
