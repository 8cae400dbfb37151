#include "arbiter/worker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include "arbiter/app.h"
#include "arbiter/child.h"
#include "arbiter/recent.h"
#include "base/clock.h"
#include "base/json_peek.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/safe_file.h"

/* Kill a worker that does not exit within this time after its channel ended. */
#define EXIT_MS 2000

static const char *const state_names[] = {
    [WORKER_BOOTING] = "booting",   [WORKER_READY] = "ready",
    [WORKER_DRAINING] = "draining", [WORKER_DYING] = "dying",
    [WORKER_DEAD] = "dead",
};

const char *worker_state_name(worker_state state) {
    return state_names[state];
}

static void set_state(worker *w, worker_state to) {
    static const uint8_t edges[] = {
        [WORKER_BOOTING] = 1 << WORKER_READY | 1 << WORKER_DRAINING | 1 << WORKER_DYING |
                           1 << WORKER_DEAD,
        [WORKER_READY] = 1 << WORKER_DRAINING | 1 << WORKER_DYING | 1 << WORKER_DEAD,
        [WORKER_DRAINING] = 1 << WORKER_DYING | 1 << WORKER_DEAD,
        [WORKER_DYING] = 1 << WORKER_DEAD,
        [WORKER_DEAD] = 0,
    };
    assert(edges[w->state] >> to & 1);
    dirty_log(DIRTY_LOG_DEBUG, "worker state", "worker=%u worker_pid=%d from=%s to=%s",
              w->number, (int)w->pid, state_names[w->state], state_names[to]);
    w->state = to;
}

/* -- Start of a worker ----------------------------------------------------------- */

/* Create the channels and pages of all lanes. `theirs` gets the lanes' ends. */
static int open_lanes(worker *w, int *theirs) {
    for (uint32_t i = 0; i < w->lane_count; i++) {
        lane *l = &w->lanes[i];
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
            return -errno;
        l->fd = pair[0];
        theirs[i] = pair[1];
        /* Not SOCK_NONBLOCK above: the lanes' ends stay blocking. */
        if (fcntl(l->fd, F_SETFL, O_NONBLOCK) < 0)
            return -errno;
        l->page = mmap(NULL, sizeof *l->page, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (l->page == MAP_FAILED) {
            l->page = NULL;
            return -errno;
        }
        l->counts = dirty_call_counts_open(w->deal->app_count);
        if (l->counts == NULL)
            return -ENOMEM;
    }
    return 0;
}

static void close_all(int *fds, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int open_outputs(worker *w, int theirs[2]) {
    int rc = output_pipe(&w->outputs[0], "stdout", &theirs[0]);
    return rc < 0 ? rc : output_pipe(&w->outputs[1], "stderr", &theirs[1]);
}

static void free_worker(worker *w) {
    for (uint32_t i = 0; i < w->lane_count; i++)
        lane_close(&w->lanes[i], NULL);
    for (int i = 0; i < 2; i++)
        output_close(&w->outputs[i], NULL);
    free(w);
}

static worker *new_worker(arbiter *a, plan *by, const deal *d) {
    uint32_t count = by->o->threads;
    worker *w = calloc(1, sizeof *w + count * sizeof w->lanes[0]);
    if (w == NULL)
        return NULL;
    w->a = a;
    w->plan = by;
    w->deal = d;
    w->lane_count = count;
    w->outputs[0].fd = w->outputs[1].fd = -1;
    if (by->o->max_requests > 0)
        w->recycle_at = by->o->max_requests +
                        (by->o->max_requests_jitter
                             ? (uint64_t)random() % (by->o->max_requests_jitter + 1ull)
                             : 0);
    for (uint32_t i = 0; i < count; i++) {
        w->lanes[i] =
            (lane){.a = a, .worker = w, .plan = by, .deal = d, .number = i, .fd = -1};
    }
    return w;
}

static void on_timer(uv_timer_t *handle);

/* Watch a forked worker's lanes and output, and limit its boot time. */
static void watch(worker *w) {
    uv_loop_t *loop = &w->a->loop;
    uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    w->open_handles = 1;
    for (uint32_t i = 0; i < w->lane_count; i++) {
        if (lane_open(&w->lanes[i]) < 0)
            worker_kill(w, "channel"); /* reaped like any other */
        if (w->lanes[i].poll_open)
            w->open_handles += 2;
    }
    for (int i = 0; i < 2; i++) {
        output_open(&w->outputs[i], loop, "worker=%u worker_pid=%d", w->number,
                    (int)w->pid);
        w->outputs[i].poll.data = w;
        if (w->outputs[i].open)
            w->open_handles++;
    }
    if (w->plan->o->boot_timeout_ms > 0)
        uv_timer_start(&w->timer, on_timer, w->plan->o->boot_timeout_ms, 0);
}

/* Returns the smallest number that no worker has. A worker whose exit has been handled
 * owns nothing on the board any more, but it keeps its number until it is freed. */
static uint32_t free_lane_id(const arbiter *a) {
    uint32_t id = 0;
    bool taken;
    do {
        const worker *w;
        taken = false;
        DL_FOREACH (a->workers, w)
            taken = taken || w->lane_id == id;
        id += taken;
    } while (taken);
    return id;
}

int worker_spawn(arbiter *a, worker_seat seat, plan *by, const deal *d, worker **out) {
    int outputs[2] = {-1, -1}, theirs[DIRTY_THREADS_MAX];
    worker *w = new_worker(a, by, d);
    if (w == NULL)
        return -ENOMEM;
    w->slot = seat.slot;
    w->number = seat.number;
    w->generation = seat.generation;
    w->lane_id = free_lane_id(a);
    for (uint32_t i = 0; i < DIRTY_THREADS_MAX; i++)
        theirs[i] = -1;
    w->spawned_ns = dirty_now_ns();
    int rc = open_lanes(w, theirs);
    if (rc == 0)
        rc = open_outputs(w, outputs);
    if (rc == 0) {
        w->pid = child_start(w, theirs, outputs);
        rc = w->pid < 0 ? -errno : 0;
    }
    close_all(theirs, w->lane_count);
    close_all(outputs, 2);
    if (rc < 0) {
        free_worker(w);
        return rc;
    }
    plan_ref(by);
    DL_APPEND(a->workers, w);
    for (uint32_t i = 0; i < w->lane_count; i++) {
        w->lanes[i].worker_number = w->number;
        w->lanes[i].worker_pid = w->pid;
    }
    watch(w);
    dirty_log(DIRTY_LOG_INFO, "worker started", "worker=%u worker_pid=%d generation=%u",
              w->number, (int)w->pid, w->generation);
    *out = w;
    return 0;
}

/* Raise max_rss to twice the size of a worker that exceeds it right after boot.
 * Otherwise it would be recycled without end and never get smaller. */
static void set_max_rss(worker *w) {
    uint64_t rss = dirty_proc_rss_bytes(w->pid);
    w->max_rss = w->plan->o->max_rss_bytes;
    if (w->max_rss == 0 || rss <= w->max_rss)
        return;
    dirty_log(DIRTY_LOG_WARN, "worker is larger than max_rss as soon as it is ready",
              "worker=%u worker_pid=%d rss=%llu max_rss=%llu recycled_at=%llu remedy=%s",
              w->number, (int)w->pid, (unsigned long long)rss,
              (unsigned long long)w->max_rss, 2 * (unsigned long long)rss,
              DIRTY_LOG_QUOTE("raise max_rss, or load less in init"));
    w->max_rss = 2 * rss;
}

void worker_lane_ready(worker *w) {
    if (++w->ready_lanes < w->lane_count || w->state != WORKER_BOOTING)
        return;
    uv_timer_stop(&w->timer);
    set_state(w, WORKER_READY);
    w->ready_ns = dirty_now_ns();
    set_max_rss(w);
    dirty_log(DIRTY_LOG_INFO, "worker ready", "worker=%u worker_pid=%d boot_ms=%llu",
              w->number, (int)w->pid,
              (unsigned long long)((dirty_now_ns() - w->spawned_ns) / DIRTY_NS_PER_MS));
    arbiter_mark(w->a, MARK_CHANGED);
}

void worker_want_recycled(worker *w, const char *why) {
    w->recycle = why;
    arbiter_mark(w->a, MARK_CHANGED);
}

/* Do the apps' data leave too little room for calls? Counts like worker/lua_limit.h. */
static bool holds_too_much(const lane *l) {
    uint64_t limit = l->plan->o->max_memory_bytes;
    return limit > 0 && atomic_load(&l->page->lua_bytes) > limit - limit / 8;
}

void worker_look_at_pages(worker *w) {
    uint64_t served = 0;
    bool full = false;
    for (uint32_t i = 0; i < w->lane_count; i++) {
        lane *l = &w->lanes[i];
        const dirty_lane_page *page = l->page;
        if (page == NULL)
            return;
        uint64_t direct = atomic_load(&l->page->direct);
        uint64_t starved = atomic_load(&l->page->starved);
        l->served = atomic_load(&l->page->served);
        served += l->served;
        if (direct - l->direct < UINT32_MAX) { /* an app may have overwritten it */
            w->a->counters.direct += direct - l->direct;
            w->a->counters.requests += direct - l->direct;
        }
        full = full || (starved != l->starved && holds_too_much(l));
        l->direct = direct;
        l->starved = starved;
    }
    w->served = served;
    if (w->recycle_at != 0 && w->served >= w->recycle_at)
        worker_want_recycled(w, "max_requests");
    if (full)
        worker_want_recycled(w, "max_memory");
}

static const char *peek(dirty_slice json, const char *key, char *out, size_t size) {
    return dirty_json_unescape(dirty_json_peek_string(json, key), out, size);
}

void worker_boot_failed(worker *w, const char *text, size_t len) {
    dirty_slice json = {text, len};
    char name[DIRTY_NAME_MAX + 1], phase[16], message[700], traceback[900];
    peek(json, "app", name, sizeof name);
    for (uint32_t i = 0; i < w->deal->app_count; i++)
        if (strcmp(w->deal->specs[i]->name, name) == 0)
            w->boot_app = w->deal->apps[i];
    peek(json, "phase", phase, sizeof phase);
    peek(json, "message", message, sizeof message);
    peek(json, "traceback", traceback, sizeof traceback);
    snprintf(w->boot_error, sizeof w->boot_error, "app %s failed in %s: %s", name, phase,
             message);
    dirty_log(DIRTY_LOG_ERROR, "worker can't boot",
              "worker=%u worker_pid=%d app=%s phase=%s error=%s traceback=%s", w->number,
              (int)w->pid, DIRTY_LOG_QUOTE(name), DIRTY_LOG_QUOTE(phase),
              DIRTY_LOG_QUOTE(message), DIRTY_LOG_QUOTE(traceback));
}

/* -- End ------------------------------------------------------------------------- */

bool worker_has_busy_lane(const worker *w) {
    for (uint32_t i = 0; i < w->lane_count; i++)
        if (lane_has_call(&w->lanes[i]))
            return true;
    return false;
}

static void retire_lanes(worker *w) {
    for (uint32_t i = 0; i < w->lane_count; i++)
        lane_retire(&w->lanes[i]);
}

static void end_lanes(worker *w) {
    retire_lanes(w);
    for (uint32_t i = 0; i < w->lane_count; i++)
        w->lanes[i].ended = true;
}

static void send_stop(worker *w) {
    for (uint32_t i = 0; i < w->lane_count; i++) {
        int rc = lane_send_stop(&w->lanes[i]);
        if (rc < 0 && rc != -EPIPE && rc != -ECONNRESET)
            dirty_log(DIRTY_LOG_WARN, "can't tell a lane to stop",
                      "worker=%u lane=%u reason=%s", w->number, i,
                      DIRTY_LOG_QUOTE(strerror(-rc)));
    }
}

/* Returns how many ms the worker may take to end. An idle worker gets at least EXIT_MS
 * to close its apps, even if graceful_timeout is shorter. */
static uint32_t drain_ms(const worker *w) {
    uint32_t ms = w->a->o->graceful_timeout_ms;
    return worker_has_busy_lane(w) || ms > EXIT_MS ? ms : EXIT_MS;
}

void worker_drain(worker *w) {
    if (w->state == WORKER_BOOTING)
        worker_kill(w, "drained"); /* runs no call and reads no message while it boots */
    if (w->state != WORKER_READY)
        return;
    set_state(w, WORKER_DRAINING);
    retire_lanes(w);
    /* Send STOP at once: a lane reads it after its current request. */
    send_stop(w);
    uv_timer_start(&w->timer, on_timer, drain_ms(w), 0);
}

void worker_retire(worker *w, const char *why) {
    w->retired = why;
    worker_drain(w);
}

void worker_kill(worker *w, const char *reason) {
    if (w->state == WORKER_DYING || w->state == WORKER_DEAD)
        return;
    set_state(w, WORKER_DYING);
    end_lanes(w);
    arbiter_mark(w->a, MARK_CHANGED);
    w->kill_reason = reason;
    w->a->counters.killed++;
    uv_timer_stop(&w->timer);
    /* Kill the process group too: it has the processes that the apps started. */
    if (kill(-w->pid, SIGKILL) < 0)
        kill(w->pid, SIGKILL);
    dirty_log(DIRTY_LOG_WARN, "worker killed", "worker=%u worker_pid=%d reason=%s",
              w->number, (int)w->pid, DIRTY_LOG_QUOTE(reason));
}

void worker_condemn(worker *w, const char *reason) {
    if (w->state == WORKER_DYING || w->state == WORKER_DEAD)
        return;
    if (w->condemned == NULL) {
        w->condemned = reason;
        retire_lanes(w);
        uv_timer_start(&w->timer, on_timer, w->a->o->graceful_timeout_ms, 0);
    }
    worker_progress(w);
}

void worker_progress(worker *w) {
    if (w->condemned == NULL)
        return;
    /* Only lanes that still have a caller keep a condemned worker alive. */
    for (uint32_t i = 0; i < w->lane_count; i++)
        if (w->lanes[i].busy && w->lanes[i].request != NULL)
            return;
    worker_kill(w, w->condemned);
}

void worker_channel_ended(worker *w) {
    if (w->state == WORKER_BOOTING || w->state == WORKER_READY) {
        retire_lanes(w);
        uv_timer_start(&w->timer, on_timer, EXIT_MS, 0);
    }
}

/* Returns the boot progress word of the first lane that is not ready and has set it. 0:
 * none. */
static uint32_t boot_word(const worker *w) {
    for (uint32_t i = 0; i < w->lane_count; i++) {
        uint32_t word = 0;
        if (!w->lanes[i].ready && w->lanes[i].page != NULL)
            word = atomic_load(&w->lanes[i].page->booting);
        if (word != 0)
            return word;
    }
    return 0;
}

int worker_boots(const worker *w) {
    if (w->boot_app != NULL)
        return worker_hosts(w, w->boot_app);
    uint32_t word = boot_word(w);
    bool told = (word & 0xff) != DIRTY_BOOT_NONE && word >> 8 < w->deal->app_count;
    return told ? (int)(word >> 8) : -1;
}

/* Set boot_error to the app and phase that exceeded boot_timeout, if the lane's page
 * has valid values. */
static void tell_late_boot(worker *w) {
    static const char *const phases[] = {
        [DIRTY_BOOT_LOAD] = "load", [DIRTY_BOOT_NEW] = "new", [DIRTY_BOOT_INIT] = "init"};
    double seconds = w->plan->o->boot_timeout_ms / 1000.0;
    uint32_t word = boot_word(w);
    uint32_t index = word >> 8, phase = word & 0xff;
    if (index < w->deal->app_count && phase >= DIRTY_BOOT_LOAD &&
        phase <= DIRTY_BOOT_INIT)
        snprintf(w->boot_error, sizeof w->boot_error,
                 "app %s took longer in %s than boot_timeout (%g s) allows",
                 w->deal->specs[index]->name, phases[phase], seconds);
    else
        snprintf(w->boot_error, sizeof w->boot_error,
                 "it was not ready within boot_timeout (%g s)", seconds);
}

static void on_timer(uv_timer_t *handle) {
    worker *w = handle->data;
    switch (w->state) {
    case WORKER_BOOTING:
        tell_late_boot(w);
        worker_kill(w, "boot_timeout");
        break;
    case WORKER_READY: worker_kill(w, w->condemned ? w->condemned : "channel"); break;
    case WORKER_DRAINING:
        w->overdue = true;
        arbiter_mark(w->a, MARK_CHANGED);
        break;
    case WORKER_DYING:
    case WORKER_DEAD: break;
    }
}

static void handle_closed(worker *w) {
    if (--w->open_handles > 0)
        return;
    arbiter *a = w->a;
    DL_DELETE(a->workers, w);
    plan_unref(a, w->plan);
    free(w);
}

static void on_handle_closed(uv_handle_t *handle) {
    handle_closed(handle->data);
}

static void on_lane_closed(uv_handle_t *handle) {
    handle_closed(((lane *)handle->data)->worker);
}

void worker_note_exit(worker *w, int wait_status) {
    arbiter *a = w->a;
    bool expected = w->state == WORKER_DRAINING;
    uv_timer_stop(&w->timer);
    set_state(w, WORKER_DEAD);
    end_lanes(w);
    for (uint32_t i = 0; i < w->lane_count; i++)
        lane_drain_channel(&w->lanes[i]);
    for (uint32_t i = 0; i < w->lane_count; i++) {
        lane_fold_counts(&w->lanes[i]);
        recent_keep(&w->lanes[i]);
    }
    worker_look_at_pages(w);
    worker_exit_note(w, wait_status, expected);
    arbiter_mark(a, MARK_CHANGED);
}

void worker_close(worker *w) {
    for (uint32_t i = 0; i < w->lane_count; i++)
        lane_close(&w->lanes[i], on_lane_closed);
    for (int i = 0; i < 2; i++)
        output_close(&w->outputs[i], on_handle_closed);
    uv_close((uv_handle_t *)&w->timer, on_handle_closed);
}

int workers_reopen_logs(arbiter *a) {
    const worker *w;
    int rc = dirty_log_reopen();
    if (rc < 0)
        dirty_log(DIRTY_LOG_ERROR, "log file can't be opened again", "file=%s reason=%s",
                  DIRTY_LOG_QUOTE(dirty_log_path()),
                  DIRTY_LOG_QUOTE(dirty_safe_reason(rc)));
    DL_FOREACH (a->workers, w)
        if (w->state == WORKER_READY || w->state == WORKER_DRAINING)
            kill(w->pid, SIGUSR1);
    return rc;
}
