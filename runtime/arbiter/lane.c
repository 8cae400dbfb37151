#include "arbiter/lane.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include "arbiter/place.h"
#include "arbiter/refusal.h"
#include "arbiter/worker.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/ratelimit.h"

/* How long a lane may take from its last byte to its DONE before that is odd. */
#define REPORT_MS 1000
/* How often an interrupt is sent until the lane has left the app: one can be lost. */
#define RESEND_MS 10
/* How long a request waits until the next try where the kernel is short of something. */
#define RETRY_MS 20
/* A lasting shortage is logged once in this time. */
#define QUIET_MS 5000
/* A request that has waited longer may be one whose caller has hung up unseen. */
#define UNSEEN_NS (10 * DIRTY_NS_PER_MS)
/* How long a lane that was reading may take to see that its connection has ended. */
#define EXIT_MS 5000

/* The largest message of a lane: one that gives a request back, or a boot error. */
#define MESSAGE_MAX \
    (sizeof(dirty_msg_plain) + sizeof(dirty_msg_dispatch) + DIRTY_CHANNEL_TEXT_MAX)

static void on_channel(uv_poll_t *handle, int status, int events);

int lane_open(lane *l) {
    int rc = uv_poll_init(&l->worker->a->loop, &l->poll, l->fd);
    if (rc < 0)
        return rc;
    l->poll_open = true;
    l->poll.data = l->timer.data = l;
    uv_timer_init(&l->worker->a->loop, &l->timer);
    return uv_poll_start(&l->poll, UV_READABLE, on_channel);
}

void lane_close(lane *l, uv_close_cb closed) {
    lane_retire(l);
    if (l->poll_open) {
        uv_close((uv_handle_t *)&l->poll, closed);
        uv_close((uv_handle_t *)&l->timer, closed);
    }
    l->poll_open = false;
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    if (l->page != NULL)
        munmap(l->page, sizeof *l->page);
    l->page = NULL;
}

/* -- Giving work ----------------------------------------------------------------------
 */

lane *lane_find(arbiter *a, const app *p) {
    lane *l;
    DL_FOREACH (a->idle, l)
        if (worker_hosts(l->worker, p) >= 0)
            return l;
    return NULL;
}

void lane_retire(lane *l) {
    if (l->in_idle)
        DL_DELETE(l->worker->a->idle, l);
    l->in_idle = false;
}

static void note_idle(lane *l) {
    /* The lane used last comes first: its caches are warm. */
    if (!l->in_idle)
        DL_PREPEND(l->worker->a->idle, l);
    l->in_idle = true;
}

/* A request that has been gathered goes as its file, with the caller's descriptor. */
static int send_dispatch(const lane *l, const session *s, struct iovec bytes) {
    const upload *u = &s->request.upload;
    int fds[2] = {s->fd, u->open ? u->fd : -1};
    dirty_msg_dispatch m = {
        .kind = DIRTY_MSG_DISPATCH,
        .app = (uint32_t)worker_hosts(l->worker, s->request.app),
        .seq = l->seq,
        .arrived_ns = s->request.arrived_ns,
        .deadline_ns = s->request.deadline_ns,
        .recv_deadline_ns = s->request.recv_deadline_ns,
        .frame_len = s->request.frame_len,
        .have_len = (uint32_t)bytes.iov_len,
        .gathered = u->open,
        .peer_pid = s->peer_pid,
        .peer_uid = s->peer_uid,
    };
    struct iovec parts[2] = {{&m, sizeof m}, bytes};
    dirty_fdpass_room room;
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    dirty_fdpass_attach(&msg, &room, fds, u->open ? 2 : 1);
    ssize_t n;
    do
        n = sendmsg(l->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* What the kernel may be short of for a while, which says nothing of the lane:
 * descriptors of one user that are under way (ETOOMANYREFS), memory, room in the channel.
 */
static bool is_shortage(int rc) {
    return rc == -ETOOMANYREFS || rc == -ENOBUFS || rc == -ENOMEM || rc == -EAGAIN;
}

static void on_retry(uv_timer_t *handle) {
    arbiter *a = handle->data;
    a->rematch = true;
}

static void retry_later(arbiter *a, int rc) {
    if (dirty_ratelimit_pass(&a->shortage_limit, QUIET_MS))
        dirty_log(DIRTY_LOG_WARN, "requests wait: no descriptor can be passed to a lane",
                  "reason=%s queued=%u remedy=%s", DIRTY_LOG_QUOTE(strerror(-rc)),
                  a->queued, DIRTY_LOG_QUOTE(dirty_log_remedy(rc)));
    if (!uv_is_active((uv_handle_t *)&a->retry_timer))
        uv_timer_start(&a->retry_timer, on_retry, RETRY_MS, 0);
}

lane_send_result lane_dispatch(lane *l, session *s, const uint8_t *bytes, size_t len) {
    l->seq = ++l->worker->a->last_seq;
    uint64_t left_ns = s->request.recv_left_ns;
    s->request.recv_deadline_ns = left_ns ? dirty_now_ns() + left_ns : 0;
    dirty_baton_begin(l->page, l->seq);
    int rc = send_dispatch(l, s, (struct iovec){(void *)(uintptr_t)bytes, len});
    if (rc == -EPIPE || rc == -ECONNRESET) {
        worker_channel_ended(l->worker); /* it died: we are about to hear of it */
        return LANE_LOST;
    }
    if (is_shortage(rc)) {
        retry_later(l->worker->a, rc);
        return LANE_LATER;
    }
    if (rc < 0) {
        dirty_log(DIRTY_LOG_WARN, "lane can't be reached", "worker=%u lane=%u reason=%s",
                  l->worker->place->number, l->number, DIRTY_LOG_QUOTE(strerror(-rc)));
        worker_kill(l->worker, "channel");
        return LANE_LOST;
    }
    lane_retire(l);
    l->busy = true;
    l->late = false;
    l->interrupted = DIRTY_CODE_NONE;
    l->session = s;
    s->request.lane = l;
    l->app = s->request.app;
    l->spec = l->worker->deal->specs[worker_hosts(l->worker, s->request.app)];
    l->started_ns = dirty_now_ns();
    l->queue_ns = l->started_ns - s->request.arrived_ns;
    l->caller_pid = s->peer_pid;
    memcpy(l->action, s->request.action, strlen(s->request.action) + 1);
    return LANE_SENT;
}

/* The oldest of the best priority over the apps that the worker hosts. */
static session *best_waiting(const deal *d) {
    session *best = NULL;
    for (uint32_t i = 0; i < d->app_count; i++) {
        const app *candidate = d->apps[i];
        if (candidate->waiting_bits == 0)
            continue;
        session *s = candidate->waiting[__builtin_ctz(candidate->waiting_bits)];
        const session_request *r = &s->request;
        if (best == NULL || r->priority < best->request.priority ||
            (r->priority == best->request.priority && r->order < best->request.order))
            best = s;
    }
    return best;
}

/* The best waiting request whose caller is still there. What happened to a connection is
 * told once per turn of the loop: where one has taken longer (we were stopped, or busy),
 * callers may have hung up whose requests still wait. */
static session *next_waiting(const worker *w) {
    session *s = NULL;
    while (w->a->queued > 0 && (s = best_waiting(w->deal)) != NULL &&
           dirty_now_ns() - s->request.arrived_ns > UNSEEN_NS && session_is_hung_up(s)) {
        session_abandon(s);
        s = NULL;
    }
    return s;
}

/* Give an idle lane the best waiting request. LANE_LATER: there is none, or it can't be
 * given for now. */
static lane_send_result serve_next(lane *l) {
    session *s = next_waiting(l->worker);
    if (s == NULL)
        return LANE_LATER;
    size_t have = s->in.len < s->request.frame_len ? s->in.len : s->request.frame_len;
    if (s->request.upload.open)
        have = 0; /* all of it is in the file */
    lane_send_result sent = lane_dispatch(l, s, s->in.base, have);
    if (sent == LANE_SENT)
        session_running(s, have);
    if (sent == LANE_LOST)
        l->worker->a->rematch = true; /* another lane may take it */
    return sent;
}

void lane_pull(lane *l) {
    worker *w = l->worker;
    if (!l->ready || l->busy || w->state != WORKER_READY || !w->serves ||
        w->condemned != NULL)
        worker_progress(w);
    else if (serve_next(l) == LANE_LATER)
        note_idle(l);
}

void lanes_rematch(arbiter *a) {
    lane *l;
    while (a->rematch) {
        a->rematch = false;
        DL_FOREACH (a->idle, l)
            if (a->queued > 0 && best_waiting(l->worker->deal) != NULL) {
                a->rematch = serve_next(l) != LANE_LATER;
                break;
            }
    }
}

void lane_detach(lane *l) {
    if (l->session != NULL)
        l->session->request.lane = NULL;
    l->session = NULL;
}

/* -- Messages of the lane ---------------------------------------------------------------
 */

/* A message that no sound lane sends. Its worker is broken, and could go on for ever. */
static void on_broken(lane *l, const char *what) {
    worker *w = l->worker;
    if (w->state == WORKER_DYING || w->state == WORKER_DEAD)
        return;
    dirty_log(DIRTY_LOG_WARN,
              "lane breaks the rules of its channel, its worker is killed",
              "worker=%u worker_pid=%d lane=%u what=%s", w->place->number, (int)w->pid,
              l->number, DIRTY_LOG_QUOTE(what));
    worker_kill(w, "channel");
}

/* Count what the lane had, and note it in the slow log if it took that long. */
static void count(lane *l, dirty_code outcome, uint64_t run_ns) {
    arbiter *a = l->worker->a;
    uint64_t slow_ns = a->o->slow_log_threshold_ms * DIRTY_NS_PER_MS;
    app_count(a, l->app,
              &(meter_sample){.action = l->action,
                              .outcome = outcome,
                              .resolved = outcome != DIRTY_CODE_ACTION_NOT_FOUND &&
                                          outcome != DIRTY_CODE_PROTOCOL,
                              .queue_ns = l->queue_ns,
                              .run_ns = run_ns});
    if (slow_ns == 0 || l->queue_ns + run_ns < slow_ns)
        return;
    dirty_log(DIRTY_LOG_WARN, "slow call",
              "app=%s action=%s code=%s queue_ms=%llu run_ms=%llu worker=%u "
              "worker_pid=%d caller_pid=%d",
              l->app->name, DIRTY_LOG_QUOTE(l->action),
              outcome ? dirty_code_name(outcome) : "OK",
              (unsigned long long)(l->queue_ns / DIRTY_NS_PER_MS),
              (unsigned long long)(run_ns / DIRTY_NS_PER_MS), l->worker->place->number,
              (int)l->worker->pid, (int)l->caller_pid);
}

/* What its apps keep leaves no room for calls, as worker/lua_limit.h counts it. */
static bool holds_too_much(const lane *l) {
    uint64_t limit = l->worker->plan->o->max_memory_bytes;
    return limit > 0 && atomic_load(&l->page->lua_bytes) > limit - limit / 8;
}

/* The lane has its request no more. Its session, NULL: answered or gone. */
static session *release(lane *l) {
    session *s = l->session;
    lane_detach(l);
    l->busy = false;
    if (l->interrupted != DIRTY_CODE_NONE)
        uv_timer_stop(&l->timer);
    return s;
}

static void on_done(lane *l, const dirty_msg_done *m) {
    worker *w = l->worker;
    if (m->seq != l->seq || m->outcome > DIRTY_CODE_LAST || !l->busy) {
        on_broken(l, "DONE of a request that it has not");
        return;
    }
    session *s = release(l);
    l->served++;
    w->served++;
    w->place->quick_deaths = 0;
    if (!m->dropped)
        count(l, (dirty_code)m->outcome, m->run_ns);
    lane_pull(l);
    if (s != NULL)
        session_done(s, m->dropped ? DIRTY_CONNECTION_LOST : m->connection);
    if (w->recycle_at != 0 && w->served >= w->recycle_at)
        place_recycle(w->place, w, "max_requests");
    if (m->outcome == DIRTY_CODE_MEMORY && holds_too_much(l))
        place_recycle(w->place, w, "max_memory");
}

/* The lane could not take the descriptor: its worker has no free one. The request was
 * not run and waits again; the worker is replaced, which frees what its apps leaked. */
static void on_returned(lane *l, const uint8_t *bytes, size_t len) {
    worker *w = l->worker;
    dirty_msg_dispatch m = {0};
    if (len >= sizeof m)
        memcpy(&m, bytes, sizeof m);
    if (!l->busy || m.seq != l->seq || m.have_len != len - sizeof m) {
        on_broken(l, "NO_DESCRIPTOR for a request that it has not");
        return;
    }
    session *s = release(l);
    w->a->counters.requeued++;
    dirty_log(DIRTY_LOG_WARN, "worker is out of descriptors and will be replaced",
              "worker=%u worker_pid=%d", w->place->number, (int)w->pid);
    worker_drain(w);
    if (s != NULL)
        session_returned(s, bytes + sizeof m, m.have_len);
}

/* The request's sender is slow: the lane gives it back with a file of what has come. */
static void on_stalled(lane *l, const dirty_msg_stalled *m, int file) {
    if (m->seq != l->seq || !l->busy || file < 0) {
        if (file >= 0)
            close(file);
        on_broken(l, "STALLED for a request that it has not");
        return;
    }
    session *s = release(l);
    if (s == NULL)
        close(file); /* it has been answered meanwhile */
    else
        session_stalled(s, file, m->have_len);
    lane_pull(l);
}

static void on_ready(lane *l) {
    if (l->ready || l->boot_failed) {
        on_broken(l, "READY a second time");
        return;
    }
    l->ready = true;
    worker_lane_ready(l->worker);
}

static void on_boot_failed(lane *l, const uint8_t *text, size_t len) {
    if (l->ready || l->boot_failed) {
        on_broken(l, "BOOT_FAILED after its boot");
        return;
    }
    l->boot_failed = true;
    worker_boot_failed(l->worker, (const char *)text, len);
}

/* One message, and the descriptor that came with it, -1: none. */
static void on_message(lane *l, const uint8_t *bytes, size_t len, int file) {
    dirty_msg_plain plain;
    dirty_msg_done done;
    dirty_msg_stalled stalled;
    memcpy(&plain, bytes, sizeof plain);
    if (plain.kind == DIRTY_MSG_DONE && len == sizeof done) {
        memcpy(&done, bytes, sizeof done);
        on_done(l, &done);
    } else if (plain.kind == DIRTY_MSG_STALLED && len == sizeof stalled) {
        memcpy(&stalled, bytes, sizeof stalled);
        on_stalled(l, &stalled, file);
        return;
    } else if (plain.kind == DIRTY_MSG_NO_DESCRIPTOR) {
        on_returned(l, bytes + sizeof plain, len - sizeof plain);
    } else if (plain.kind == DIRTY_MSG_READY) {
        on_ready(l);
    } else if (plain.kind == DIRTY_MSG_BOOT_FAILED) {
        on_boot_failed(l, bytes + sizeof plain, len - sizeof plain);
    } else {
        on_broken(l, "a message that there is not");
    }
    if (file >= 0)
        close(file); /* nobody has asked for it */
}

/* The one descriptor that a message brought, -1: none. */
static int take_file(struct msghdr *m) {
    int fds[DIRTY_FDPASS_MAX];
    if (dirty_fdpass_take(m, fds) == 2)
        close(fds[1]);
    return fds[0];
}

/* Receive one message. 1: handled, 0: none there, negative: the channel has ended. */
static int receive(lane *l) {
    uint8_t bytes[MESSAGE_MAX];
    struct iovec piece = {bytes, sizeof bytes};
    dirty_fdpass_room room;
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};
    dirty_fdpass_expect(&m, &room);
    ssize_t n;
    do
        n = recvmsg(l->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n < (ssize_t)sizeof(dirty_msg_plain))
        return -1;
    on_message(l, bytes, (size_t)n, m.msg_controllen == 0 ? -1 : take_file(&m));
    return 1;
}

static void on_channel(uv_poll_t *handle, int status, int events) {
    lane *l = handle->data;
    (void)events;
    if (status < 0 || receive(l) < 0) {
        if (l->poll_open)
            uv_poll_stop(&l->poll);
        lane_retire(l);
        worker_channel_ended(l->worker);
    }
}

void lane_drain_channel(lane *l) {
    while (l->fd >= 0 && receive(l) > 0)
        continue;
}

/* -- Answering in the lane's stead
 * -------------------------------------------------------- */

/* The lane won't tell any more whether it had read the request to its end: its page does.
 * If not, what is left of it must not be taken for the next one. */
static void note_whole(const lane *l, session *s) {
    s->request.whole = s->request.whole || atomic_load(&l->page->whole) == l->seq;
}

/* The end of a connection whose answer is out, with no DONE to tell it. */
static dirty_connection_end end_of_answered(const lane *l, session *s) {
    note_whole(l, s);
    return s->request.whole ? DIRTY_CONNECTION_KEEP : DIRTY_CONNECTION_DRAIN;
}

static void send_interrupt(const lane *l, unsigned reason) {
    uint32_t tid = atomic_load(&l->page->tid);
    atomic_store(&l->page->interrupt, l->seq << 8 | reason);
    /* The page may lie about the thread; the kernel checks that it is the worker's. */
    if (tid != 0 && l->worker->state != WORKER_DEAD)
        syscall(SYS_tgkill, l->worker->pid, (pid_t)tid, DIRTY_INTERRUPT_SIGNAL);
}

/* Grace is over: take the baton, or end the connection whose frame never gets whole. */
static void seize(lane *l) {
    session *s = l->session;
    dirty_baton_state state = dirty_baton_read(l->page, l->seq);
    if (dirty_now_ns() < l->grace_until_ns &&
        (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_WRITING)) {
        /* It was reading when its deadline came, and has begun since, or answers itself
         * by now: it gets its grace. */
        l->seize_ns = l->grace_until_ns;
        if (state == DIRTY_BATON_RUNNING)
            send_interrupt(l, l->interrupted);
        return;
    }
    bool mine = (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_READING) &&
                dirty_baton_move(l->page, l->seq, state, DIRTY_BATON_TAKEN);
    bool lost_race =
        !mine && (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_READING);
    if (lost_race || (state == DIRTY_BATON_ANSWERED && !l->late)) {
        l->late = true; /* it has just gone on: its DONE is near */
        l->seize_ns = dirty_now_ns() + REPORT_MS * DIRTY_NS_PER_MS;
        return;
    }
    if (state == DIRTY_BATON_WRITING && s != NULL) {
        /* The caller does not read; what it has got is no frame any more. The lane's
         * send fails now. */
        l->seize_ns = dirty_now_ns() + REPORT_MS * DIRTY_NS_PER_MS;
        session_close(s);
        return;
    }
    lane_detach(l);
    if (mine && s != NULL) {
        note_whole(l, s);
        refuse_interrupted(s, l->interrupted, state == DIRTY_BATON_RUNNING);
    } else if (s != NULL) {
        session_close(s);
    }
    if (mine && state == DIRTY_BATON_READING)
        l->seize_ns = dirty_now_ns() + EXIT_MS * DIRTY_NS_PER_MS; /* it sees the end */
    else
        worker_condemn(l->worker, dirty_code_name(l->interrupted));
}

static void on_tick(uv_timer_t *handle) {
    lane *l = handle->data;
    if (!l->busy || l->worker->state == WORKER_DYING || l->worker->state == WORKER_DEAD)
        uv_timer_stop(handle);
    else if (dirty_now_ns() >= l->seize_ns)
        seize(l);
    else if (l->interrupted != 0 && l->spec->interruptible &&
             dirty_baton_read(l->page, l->seq) == DIRTY_BATON_RUNNING)
        send_interrupt(l, l->interrupted);
}

static void drive(lane *l, uint32_t grace_ms) {
    l->seize_ns = dirty_now_ns() + grace_ms * DIRTY_NS_PER_MS;
    uv_timer_start(&l->timer, on_tick, 0, RESEND_MS);
}

void lane_interrupt(lane *l, dirty_code reason) {
    if (!l->busy || l->interrupted != DIRTY_CODE_NONE)
        return;
    l->interrupted = reason;
    l->grace_until_ns =
        dirty_now_ns() + l->worker->plan->o->timeout_grace_ms * DIRTY_NS_PER_MS;
    /* A lane that still reads has not started the app: nothing to wait for. */
    bool reads = dirty_baton_read(l->page, l->seq) == DIRTY_BATON_READING;
    drive(l, reads ? 0 : l->worker->plan->o->timeout_grace_ms);
}

void lane_caller_gone(lane *l) {
    if (l->spec->cancel_on_disconnect || atomic_load(&l->page->streaming) == l->seq)
        lane_interrupt(l, DIRTY_CODE_CANCELLED);
}

void lane_abandon(lane *l) {
    lane_detach(l);
    if (l->interrupted != DIRTY_CODE_NONE)
        return; /* it is driven already */
    l->interrupted = DIRTY_CODE_CANCELLED;
    drive(l, l->worker->plan->o->timeout_grace_ms);
}

bool lane_ask_stack(lane *l) {
    if (!l->busy || l->interrupted != DIRTY_CODE_NONE || !l->spec->interruptible ||
        dirty_baton_read(l->page, l->seq) != DIRTY_BATON_RUNNING)
        return false;
    send_interrupt(l, DIRTY_INTERRUPT_STACK);
    return true;
}

void lane_shutdown(lane *l) {
    session *s = l->session;
    if (s == NULL)
        return;
    dirty_baton_state state = dirty_baton_read(l->page, l->seq);
    bool ours = (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_READING) &&
                dirty_baton_move(l->page, l->seq, state, DIRTY_BATON_TAKEN);
    lane_detach(l);
    if (!ours) {
        /* A frame is being written, or is out and the DONE is on its way. */
        if (dirty_baton_read(l->page, l->seq) != DIRTY_BATON_ANSWERED)
            session_close(s);
        else
            session_done(s, end_of_answered(l, s));
        return;
    }
    note_whole(l, s);
    const char *started = state == DIRTY_BATON_RUNNING ? "yes" : "no";
    const arbiter *a = l->worker->a;
    if (a->phase == ARBITER_DRAINING || a->phase == ARBITER_ENDING)
        refuse_shutdown(s, started);
    else
        refuse_retired(s, l->worker, started);
}

static void refuse_lost(const lane *l, session *s, const char *started, int wait_status) {
    char extra[200], how[120], name[16];
    const worker *w = l->worker;
    /* The lane that a worker is condemned for has been answered before. */
    bool sibling = w->condemned != NULL && w->kill_reason != NULL;
    bool oom = w->exit_reason == WORKER_EXIT_OOM;
    if (WIFSIGNALED(wait_status)) {
        int number = WTERMSIG(wait_status);
        worker_signal_name(number, name, sizeof name);
        snprintf(extra, sizeof extra,
                 ",\"signal\":%d,\"signal_name\":\"%s\",\"killed_by_runtime\":%s,"
                 "\"worker\":%u,\"pid\":%d%s",
                 number, name, w->kill_reason ? "true" : "false", w->place->number,
                 (int)w->pid,
                 sibling ? ",\"cause\":\"sibling\""
                 : oom   ? ",\"cause\":\"oom\""
                         : "");
        snprintf(how, sizeof how, "was killed by signal %d (%s)%s", number, name,
                 oom ? ", likely by the OOM killer," : "");
    } else {
        snprintf(extra, sizeof extra,
                 ",\"exit_status\":%d,\"killed_by_runtime\":false,\"worker\":%u,"
                 "\"pid\":%d",
                 WEXITSTATUS(wait_status), w->place->number, (int)w->pid);
        snprintf(how, sizeof how, "ended with exit status %d", WEXITSTATUS(wait_status));
    }
    bool ran = *started == 'y';
    refusal r = {DIRTY_CODE_WORKER_LOST, started, ran ? "run" : "receive", extra, false};
    refuse(s, &r, "worker %u (pid %d) %s %s %s.%s%s", w->place->number, (int)w->pid, how,
           ran ? "while it ran" : "before it ran", s->request.app->name,
           s->request.action, sibling ? ": another of its lanes was stuck" : "");
}

void lane_settle(lane *l, int wait_status) {
    session *s = l->session;
    if (!l->busy)
        return;
    l->busy = false;
    lane_detach(l);
    if (s == NULL)
        return;
    switch (dirty_baton_read(l->page, l->seq)) {
    case DIRTY_BATON_READING: refuse_lost(l, s, "no", wait_status); break;
    case DIRTY_BATON_RUNNING:
        note_whole(l, s);
        refuse_lost(l, s, "yes", wait_status);
        break;
    case DIRTY_BATON_ANSWERED:
        count(l, DIRTY_CODE_NONE, 0);
        session_done(s, end_of_answered(l, s));
        break;
    case DIRTY_BATON_WRITING: /* framing is lost */
    case DIRTY_BATON_TAKEN:
    case DIRTY_BATON_IDLE: /* the page can't be believed */
        count(l, DIRTY_CODE_WORKER_LOST, 0);
        session_close(s);
        break;
    }
}
