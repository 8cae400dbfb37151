#include "arbiter/arbiter.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utlist.h>

#include "arbiter/quarantine.h"
#include "arbiter/app.h"
#include "arbiter/grant.h"
#include "arbiter/edits.h"
#include "arbiter/exit_hook.h"
#include "arbiter/hangup_watch.h"
#include "arbiter/dispatch.h"
#include "arbiter/notify.h"
#include "arbiter/lane_events.h"
#include "arbiter/listener.h"
#include "arbiter/availability.h"
#include "arbiter/admin.h"
#include "arbiter/stop.h"
#include "arbiter/pool.h"
#include "arbiter/plan.h"
#include "arbiter/ready_lanes.h"
#include "arbiter/reload.h"
#include "arbiter/shared_conns.h"
#include "arbiter/conn.h"
#include "base/capture.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/patience.h"
#include "base/safe_file.h"
#include "base/title.h"

/* Time for idle and lingering connections to close at the end. */
#define LAST_WORDS_MS 500
/* Room for an error frame with a short message. */
#define LAST_WORDS_ROOM 256
/* Interval of memory checks: the arbiter's, and the workers' if max_rss is set. */
#define CHECK_MS 1000
/* Trim the heap after a peak of at least this many connections. */
#define CROWD 512

static const int signal_numbers[] = {SIGCHLD, SIGTERM, SIGINT,  SIGQUIT,
                                     SIGUSR1, SIGHUP,  SIGTTIN, SIGTTOU};

/* -- End ------------------------------------------------------------------------- */

static void close_conns(uv_timer_t *handle) {
    arbiter *a = handle->data;
    conn *c, *next;
    DL_FOREACH_SAFE (a->conns, c, next)
        conn_close(c);
    uv_close((uv_handle_t *)&a->stop_timer, NULL);
    uv_close((uv_handle_t *)&a->step, NULL);
    uv_close((uv_handle_t *)&a->more, NULL);
    uv_close((uv_handle_t *)&a->retry_timer, NULL);
}

/* Log what the configuration and its hooks print. Processes that they started may keep
 * printing, so the loop doesn't wait for the end of this output. */
static void open_outputs(arbiter *a) {
    static const char *const streams[] = {"stdout", "stderr"};
    int ends[2], rc = dirty_capture_open();
    if (rc < 0)
        dirty_log(DIRTY_LOG_WARN, "can't log the output of hooks", "reason=%s remedy=%s",
                  DIRTY_LOG_QUOTE(strerror(-rc)), DIRTY_LOG_QUOTE(dirty_log_remedy(rc)));
    dirty_capture_ends(ends, a->output_ends);
    for (int i = 0; i < 2; i++) {
        a->outputs[i].stream = streams[i];
        a->outputs[i].fd = ends[i];
        if (ends[i] >= 0 && output_open(&a->outputs[i], &a->loop, "by=arbiter") == 0)
            uv_unref((uv_handle_t *)&a->outputs[i].poll);
    }
}

static void close_outputs(arbiter *a) {
    for (int i = 0; i < 2; i++)
        output_close(&a->outputs[i], NULL);
}

static void close_signals(arbiter *a) {
    for (size_t i = 0; i < sizeof a->signals / sizeof *a->signals; i++) {
        uv_close((uv_handle_t *)&a->signals[i], NULL);
        /* a further TERM must not turn a clean end into death by signal */
        if (signal_numbers[i] != SIGCHLD)
            signal(signal_numbers[i], SIG_IGN);
    }
}

/* End after the last worker: finish sending answers, then let the loop end. */
static void finish(arbiter *a) {
    conn *c, *next;
    close_signals(a);
    uv_close((uv_handle_t *)&a->check_timer, NULL);
    pool_close(a);
    ready_lanes_close(a);
    hangup_watch_close(a);
    reload_close(a);
    edits_close(a);
    notify_close(a);
    close_outputs(a);
    DL_FOREACH_SAFE (a->conns, c, next)
        if (c->cut_off)
            conn_set_state(c, CONN_CLOSING); /* no lane has a copy any more */
        else if (c->state == CONN_IDLE || c->state == CONN_SHARED ||
                 c->state == CONN_READING)
            conn_close(c);
    uv_timer_start(&a->stop_timer, close_conns, a->conns ? LAST_WORDS_MS : 0, 0);
}

/* -- Step ------------------------------------------------------------------------ */

static void on_more(uv_idle_t *handle) {
    (void)handle; /* the active handle keeps the loop from waiting */
}

/* Begin to serve: all workers are ready, or serving no longer depends on them. */
static void serve(arbiter *a) {
    arbiter_set_phase(a, ARBITER_SERVING);
    notify_ready(a);
    if (a->reload->again) {
        a->reload->again = false;
        reload_start(a);
    }
}

static bool take(arbiter *a, unsigned bit) {
    bool marked = (a->marks & bit) != 0;
    a->marks &= ~bit;
    return marked;
}

/* Handle changes of workers, slots and reloads. The order matters: each part uses the
 * results of those before it. */
static void look_at_changes(arbiter *a) {
    pool_step(a);
    quarantine_step(a);
    if (take(a, MARK_HOPELESS))
        dispatch_fail_hopeless(a);
    if (a->phase == ARBITER_STARTING && (a->start_over || pool_all_ready(a)))
        serve(a);
    reload_step(a);
    ready_lanes_step(a);
}

/* Handle the marks of this turn, once, before the loop waits. */
static void on_step(uv_prepare_t *handle) {
    arbiter *a = handle->data;
    if (take(a, MARK_LOOK))
        conns_step(a);
    if (take(a, MARK_REMATCH))
        dispatch_rematch(a);
    if (take(a, MARK_CHANGED))
        look_at_changes(a);
    if (take(a, MARK_SHARED))
        ready_lanes_wake(a);
    if (take(a, MARK_ROOM))
        listener_step(a);
    if (stop_step(a))
        finish(a);
    if (a->marks != 0) {
        uv_idle_start(&a->more, on_more);
        return;
    }
    uv_idle_stop(&a->more);
    if (a->phase == ARBITER_STARTING || a->phase == ARBITER_SERVING)
        uv_prepare_stop(handle);
}

static void open_step(arbiter *a) {
    uv_prepare_init(&a->loop, &a->step);
    uv_idle_init(&a->loop, &a->more);
    uv_timer_init(&a->loop, &a->retry_timer);
    a->step.data = a->retry_timer.data = a;
    a->on_step = on_step;
    arbiter_mark(a, MARK_CHANGED);
}

/* -- Signals --------------------------------------------------------------------- */

static void scale(arbiter *a, int delta) {
    char why[200];
    if (a->phase != ARBITER_SERVING)
        return;
    if (pool_scale(a, delta, why, sizeof why) < 0)
        dirty_log(DIRTY_LOG_WARN, "not scaled", "by=%+d reason=%s", delta,
                  DIRTY_LOG_QUOTE(why));
}

static void on_signal(uv_signal_t *handle, int number) {
    arbiter *a = handle->data;
    switch (number) {
    case SIGCHLD:
        pool_reap(a);
        reload_reap(a);
        exit_hooks_reap(a);
        break;
    case SIGHUP: reload_start(a); break;
    case SIGTTIN: scale(a, 1); break;
    case SIGTTOU: scale(a, -1); break;
    case SIGTERM:
    case SIGINT: stop_gracefully(a); break;
    case SIGQUIT: stop_now(a, DIRTY_EXIT_OK); break;
    case SIGUSR1: workers_reopen_logs(a); break;
    default: break; /* no other signal is handled */
    }
}

static void open_signals(arbiter *a) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log at its size limit must not end the process */
    dirty_patience_init();
    dirty_patience_begin(DIRTY_PATIENCE_MS);
    for (size_t i = 0; i < sizeof signal_numbers / sizeof *signal_numbers; i++) {
        uv_signal_init(&a->loop, &a->signals[i]);
        a->signals[i].data = a;
        uv_signal_start(&a->signals[i], on_signal, signal_numbers[i]);
    }
}

/* -- Start ----------------------------------------------------------------------- */

static void raise_descriptor_limit(arbiter *a) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    a->descriptor_max = limit.rlim_cur;
}

/* Trim the heap after a crowd of connections: malloc keeps freed memory that other
 * processes may need. */
static void give_back_memory(arbiter *a) {
    if (a->conn_peak < CROWD || a->conn_count > a->conn_peak / 2)
        return;
    malloc_trim(0);
    a->conn_peak = a->conn_count;
}

static void flush_outputs(arbiter *a) {
    worker *w;
    DL_FOREACH (a->workers, w)
        for (int i = 0; i < 2; i++)
            output_flush(&w->outputs[i]);
    for (int i = 0; i < 2; i++)
        output_flush(&a->outputs[i]);
}

/* Renew the patience: the loop is alive. */
static void on_check(uv_timer_t *handle) {
    dirty_patience_begin(DIRTY_PATIENCE_MS);
    pool_check_memory(handle->data);
    pool_read_pages(handle->data);
    quarantine_check(handle->data);
    dirty_oom_forget(&((arbiter *)handle->data)->oom, dirty_now_ns());
    give_back_memory(handle->data);
    flush_outputs(handle->data);
    dirty_call_log_flush(&((arbiter *)handle->data)->call_log, false);
    listener_look(handle->data);
}

/* Apply the socket options: the configuration may have changed since the supervisor
 * made the socket. */
static void change_socket(arbiter *a) {
    char why[300];
    if (grant_apply(a, a->boot, why, sizeof why) < 0)
        dirty_log(DIRTY_LOG_WARN, "the socket can't be changed", "reason=%s",
                  DIRTY_LOG_QUOTE(why));
}

static void on_order(arbiter *a, dirty_report_kind order) {
    if (order == DIRTY_REPORT_DEPART) {
        stop_departing(a);
        return;
    }
    change_socket(a); /* it had the options of the runtime before us */
    listener_begin(a);
}

static int start(arbiter *a) {
    plan *first = plan_new(a, a->boot);
    if (first == NULL || reload_init(a) < 0 ||
        dirty_buf_reserve(&a->last_words, LAST_WORDS_ROOM) < 0)
        return DIRTY_EXIT_INTERNAL;
    plan_install(a, first);
    if (a->o->hooks.on_starting != NULL)
        a->o->hooks.on_starting(a->o->hooks.ctx, a->pid);
    open_signals(a); /* as soon as the socket exists, somebody may send a signal */
    if (listener_open(a) < 0) {
        close_signals(a);
        return DIRTY_EXIT_SOCKET;
    }
    if (a->boot->restarts > 0)
        change_socket(a);
    notify_open(a);
    open_step(a);
    uv_timer_init(&a->loop, &a->stop_timer);
    a->stop_timer.data = a;
    uv_timer_init(&a->loop, &a->check_timer);
    a->check_timer.data = a;
    uv_timer_start(&a->check_timer, on_check, CHECK_MS, CHECK_MS);
    if (hangup_watch_open(a, ready_lanes_hung_up) < 0)
        dirty_log_msg(DIRTY_LOG_DEBUG, "hang-ups are watched by libuv");
    ready_lanes_open(a);
    edits_open(a);
    if (pool_init(a) < 0)
        stop_now(a, DIRTY_EXIT_INTERNAL);
    return DIRTY_EXIT_OK;
}

int dirty_arbiter_run(const dirty_arbiter_options *options) {
    arbiter *a = calloc(1, sizeof *a);
    int rc = a != NULL ? uv_loop_init(&a->loop) : UV_ENOMEM;
    if (a == NULL || rc < 0) {
        dirty_log(DIRTY_LOG_ERROR, "the event loop can't be created",
                  "reason=%s remedy=%s", DIRTY_LOG_QUOTE(uv_strerror(rc)),
                  DIRTY_LOG_QUOTE(dirty_log_remedy(rc)));
        free(a);
        return DIRTY_EXIT_INTERNAL;
    }
    a->boot = a->o = options;
    a->lane_events = &arbiter_lane_events;
    a->reserved_app = admin_answer;
    a->on_order = on_order;
    a->pid = getpid();
    a->started_ns = dirty_now_ns();
    dirty_oom_open(&a->oom, options->system_root ? options->system_root : "",
                   a->started_ns);
    dirty_log_who("arbiter");
    dirty_title_set("dirty: arbiter");
    raise_descriptor_limit(a);
    open_outputs(a);
    int failed = start(a);
    if (failed != DIRTY_EXIT_OK) {
        close_outputs(a);
        if (a->reload != NULL)
            reload_close(a);
    }
    uv_run(&a->loop, UV_RUN_DEFAULT);
    dirty_patience_end();
    int status = failed ? failed : a->status;
    pool_deinit(a);
    plan_unref(a, a->plan);
    if (a->reload != NULL)
        reload_deinit(a);
    if (uv_loop_close(&a->loop) < 0)
        dirty_log_msg(DIRTY_LOG_ERROR, "event loop still has handles");
    dirty_log(DIRTY_LOG_INFO, "ended", "status=%d", status);
    free(a->spare);
    dirty_call_log_flush(&a->call_log, true);
    free(a->recent);
    while (a->spare_input_count > 0)
        dirty_buf_deinit(&a->spare_inputs[--a->spare_input_count]);
    dirty_buf_deinit(&a->last_words);
    answer_cache_deinit(&a->answer_cache);
    shared_conns_close(a);
    free(a);
    return status;
}
