#include "arbiter/stop.h"
#include "arbiter/pool.h"

#include <utlist.h>

#include "arbiter/availability.h"
#include "arbiter/notify.h"
#include "arbiter/listener.h"
#include "arbiter/reply.h"
#include "arbiter/conn.h"
#include "arbiter/ready_lanes.h"
#include "arbiter/shared_conns.h"
#include "arbiter/takeover.h"
#include "arbiter/worker.h"
#include "base/log.h"

static void log_phase(const arbiter *a, const char *msg) {
    dirty_log(DIRTY_LOG_INFO, msg, "sessions=%u queued=%u", a->conn_count, a->queued);
}

/* Does a request of the connection come, wait or run? */
static bool is_in_use(const conn *c) {
    return c->looking ||
           (c->state != CONN_IDLE && c->state != CONN_LINGER && c->state != CONN_CLOSING);
}

static bool is_busy(const arbiter *a) {
    const conn *c;
    if (a->departs)
        DL_FOREACH (a->conns, c)
            if (is_in_use(c))
                return true;
    if (a->queued > 0 || (a->shared != NULL && a->shared->count > 0))
        return true;
    const worker *w;
    DL_FOREACH (a->workers, w)
        for (uint32_t k = 0; k < w->lane_count; k++)
            if (w->lanes[k].busy)
                return true;
    return false;
}

/* Answer the requests that no lane will take any more. */
static void reply_unstarted(arbiter *a) {
    conn *c, *next;
    DL_FOREACH_SAFE (a->conns, c, next)
        if (c->state == CONN_QUEUED || c->state == CONN_GATHERING)
            reply_shutdown(c, "no");
}

static void on_graceful_timeout(uv_timer_t *handle) {
    arbiter *a = handle->data;
    dirty_log_msg(DIRTY_LOG_WARN,
                  "graceful_timeout has passed: stopping the calls that still run");
    stop_now(a, DIRTY_EXIT_OK);
}

/* Drain the workers: all accepted requests are finished. */
static void release_workers(arbiter *a) {
    arbiter_set_phase(a, ARBITER_ENDING);
    reply_unstarted(a); /* requests that are still incomplete */
    worker *w;
    DL_FOREACH (a->workers, w)
        worker_drain(w);
}

bool stop_step(arbiter *a) {
    if (a->start_failed && a->phase != ARBITER_ENDING)
        stop_now(a, DIRTY_EXIT_BOOT);
    if (a->phase == ARBITER_DRAINING && !is_busy(a))
        release_workers(a);
    if (a->phase != ARBITER_ENDING || a->finished || !pool_all_gone(a))
        return false;
    a->finished = true;
    return true;
}

void stop_gracefully(arbiter *a) {
    if (a->phase == ARBITER_DRAINING || a->phase == ARBITER_ENDING) {
        stop_now(a, DIRTY_EXIT_OK);
        return;
    }
    log_phase(a, "stopping: finishing the accepted calls");
    arbiter_set_phase(a, ARBITER_DRAINING);
    arbiter_mark(a, MARK_CHANGED);
    listener_close(a);
    ready_lanes_stop(a);
    notify_stopping(a);
    uv_timer_start(&a->stop_timer, on_graceful_timeout, a->o->graceful_timeout_ms, 0);
}

void stop_departing(arbiter *a) {
    conn *c, *next;
    if (a->phase == ARBITER_DRAINING || a->phase == ARBITER_ENDING)
        return;
    a->departs = true;
    stop_gracefully(a);
    DL_FOREACH_SAFE (a->conns, c, next)
        conn_let_go(c);
}

void stop_now(arbiter *a, int status) {
    if (a->status == DIRTY_EXIT_OK)
        a->status = status;
    if (!a->ending)
        log_phase(a, "stopping now");
    if (!a->ending && status == DIRTY_EXIT_OK)
        notify_stopping(a);
    a->ending = true;
    arbiter_mark(a, MARK_CHANGED);
    arbiter_set_phase(a, ARBITER_ENDING);
    listener_close(a);
    ready_lanes_adopt(a);
    reply_unstarted(a);
    worker *w;
    DL_FOREACH (a->workers, w) {
        for (uint32_t k = 0; k < w->lane_count; k++)
            takeover_shutdown(&w->lanes[k]);
        worker_kill(w, "shutdown");
    }
}
