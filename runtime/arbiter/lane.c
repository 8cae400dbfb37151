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
#include "base/log.h"

/* How long a lane may take from its last byte to its DONE before that is odd. */
#define REPORT_MS 1000
/* How often an interrupt is sent until the lane has left the app: one can be lost. */
#define RESEND_MS 10
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

static int send_dispatch(const lane *l, const session *s, struct iovec bytes) {
    dirty_msg_dispatch m = {
        .kind = DIRTY_MSG_DISPATCH,
        .app = (uint32_t)worker_hosts(l->worker, s->app),
        .seq = l->seq,
        .arrived_ns = s->arrived_ns,
        .deadline_ns = s->deadline_ns,
        .recv_deadline_ns = s->recv_left_ns ? dirty_now_ns() + s->recv_left_ns : 0,
        .frame_len = s->frame_len,
        .have_len = (uint32_t)bytes.iov_len,
        .peer_pid = s->peer_pid,
        .peer_uid = s->peer_uid,
    };
    struct iovec parts[2] = {{&m, sizeof m}, bytes};
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr msg = {.msg_iov = parts,
                         .msg_iovlen = 2,
                         .msg_control = control.room,
                         .msg_controllen = sizeof control.room};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &s->fd, sizeof(int));
    ssize_t n;
    do
        n = sendmsg(l->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

bool lane_dispatch(lane *l, session *s, const uint8_t *bytes, size_t len) {
    l->seq = ++l->worker->a->last_seq;
    dirty_baton_begin(l->page, l->seq);
    int rc = send_dispatch(l, s, (struct iovec){(void *)(uintptr_t)bytes, len});
    if (rc == -EPIPE || rc == -ECONNRESET) {
        worker_channel_ended(l->worker); /* it died: we are about to hear of it */
        return false;
    }
    if (rc < 0) {
        dirty_log(DIRTY_LOG_WARN, "lane can't be reached", "worker=%u lane=%u reason=%s",
                  l->worker->place->number, l->number, DIRTY_LOG_QUOTE(strerror(-rc)));
        worker_kill(l->worker, "channel");
        return false;
    }
    lane_retire(l);
    l->busy = true;
    l->late = false;
    l->interrupted = DIRTY_CODE_NONE;
    l->session = s;
    s->lane = l;
    l->app = s->app;
    l->spec = l->worker->deal->specs[worker_hosts(l->worker, s->app)];
    l->started_ns = dirty_now_ns();
    l->queue_ns = l->started_ns - s->arrived_ns;
    l->caller_pid = s->peer_pid;
    memcpy(l->action, s->action, strlen(s->action) + 1);
    return true;
}

/* The oldest of the best priority over the apps that the worker hosts. */
static session *best_waiting(const deal *d) {
    session *best = NULL;
    for (uint32_t i = 0; i < d->app_count; i++) {
        const app *candidate = d->apps[i];
        if (candidate->waiting_bits == 0)
            continue;
        session *s = candidate->waiting[__builtin_ctz(candidate->waiting_bits)];
        if (best == NULL || s->priority < best->priority ||
            (s->priority == best->priority && s->order < best->order))
            best = s;
    }
    return best;
}

void lane_pull(lane *l) {
    worker *w = l->worker;
    if (!l->ready || l->busy || w->state != WORKER_READY || !w->serves ||
        w->condemned != NULL) {
        worker_progress(w);
        return;
    }
    session *s = w->a->queued > 0 ? best_waiting(w->deal) : NULL;
    if (s == NULL) {
        note_idle(l);
        return;
    }
    app_dequeue(w->a, s);
    size_t have = s->in.len < s->frame_len ? s->in.len : s->frame_len;
    if (lane_dispatch(l, s, s->in.base, have))
        session_running(s, have);
    else
        app_enqueue(w->a, s);
}

void lane_detach(lane *l) {
    if (l->session != NULL)
        l->session->lane = NULL;
    l->session = NULL;
}

/* -- Messages of the lane ---------------------------------------------------------------
 */

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

static void on_done(lane *l, const dirty_msg_done *m) {
    worker *w = l->worker;
    if (!l->busy || m->seq != l->seq || m->outcome > DIRTY_CODE_LAST) {
        dirty_log(DIRTY_LOG_WARN, "lane reports what it was not given",
                  "worker=%u lane=%u", w->place->number, l->number);
        worker_kill(w, "channel");
        return;
    }
    session *s = l->session;
    lane_detach(l);
    l->busy = false;
    if (l->interrupted != DIRTY_CODE_NONE)
        uv_timer_stop(&l->timer);
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
    arbiter_progress(w->a);
}

/* The lane could not take the descriptor: its worker has no free one. The request was
 * not run and waits again; the worker is replaced, which frees what its apps leaked. */
static void on_returned(lane *l, const uint8_t *bytes, size_t len) {
    worker *w = l->worker;
    dirty_msg_dispatch m;
    if (!l->busy || len < sizeof m)
        return;
    memcpy(&m, bytes, sizeof m);
    session *s = l->session;
    lane_detach(l);
    l->busy = false;
    w->a->counters.requeued++;
    dirty_log(DIRTY_LOG_WARN, "worker is out of descriptors and will be replaced",
              "worker=%u worker_pid=%d", w->place->number, (int)w->pid);
    worker_drain(w);
    if (s == NULL)
        return;
    if (m.seq == l->seq && m.have_len == len - sizeof m)
        session_returned(s, bytes + sizeof m, m.have_len);
    else
        session_close(s);
}

static void on_message(lane *l, const uint8_t *bytes, size_t len) {
    dirty_msg_plain plain;
    dirty_msg_done done;
    memcpy(&plain, bytes, sizeof plain);
    switch (plain.kind) {
    case DIRTY_MSG_READY:
        if (l->ready)
            break;
        l->ready = true;
        worker_lane_ready(l->worker);
        break;
    case DIRTY_MSG_BOOT_FAILED:
        worker_boot_failed(l->worker, (const char *)bytes + sizeof plain,
                           len - sizeof plain);
        break;
    case DIRTY_MSG_DONE:
        if (len != sizeof done)
            break;
        memcpy(&done, bytes, sizeof done);
        on_done(l, &done);
        break;
    case DIRTY_MSG_NO_DESCRIPTOR:
        on_returned(l, bytes + sizeof plain, len - sizeof plain);
        break;
    default:
        dirty_log(DIRTY_LOG_WARN, "lane sends an unknown message", "worker=%u kind=%u",
                  l->worker->place->number, plain.kind);
    }
}

/* Receive one message. 1: handled, 0: none there, negative: the channel has ended. */
static int receive(lane *l) {
    uint8_t bytes[MESSAGE_MAX];
    ssize_t n;
    do
        n = recv(l->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n < (ssize_t)sizeof(dirty_msg_plain))
        return -1;
    on_message(l, bytes, (size_t)n);
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
    s->whole = s->whole || atomic_load(&l->page->whole) == l->seq;
}

/* The end of a connection whose answer is out, with no DONE to tell it. */
static dirty_connection_end end_of_answered(const lane *l, session *s) {
    note_whole(l, s);
    return s->whole ? DIRTY_CONNECTION_KEEP : DIRTY_CONNECTION_DRAIN;
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
    if (state == DIRTY_BATON_RUNNING && dirty_now_ns() < l->grace_until_ns) {
        /* It was reading when its deadline came, and has begun since: it gets its grace.
         */
        l->seize_ns = l->grace_until_ns;
        send_interrupt(l, l->interrupted);
        return;
    }
    bool mine = (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_READING) &&
                dirty_baton_move(l->page, l->seq, state, DIRTY_BATON_TAKEN);
    bool lost_race = !mine && state == DIRTY_BATON_RUNNING;
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
    refuse_shutdown(s, state == DIRTY_BATON_RUNNING ? "yes" : "no");
}

static void refuse_lost(const lane *l, session *s, const char *started, int wait_status) {
    char extra[200], how[80], name[16];
    const worker *w = l->worker;
    /* The lane that a worker is condemned for has been answered before. */
    bool sibling = w->condemned != NULL && w->kill_reason != NULL;
    if (WIFSIGNALED(wait_status)) {
        int number = WTERMSIG(wait_status);
        worker_signal_name(number, name, sizeof name);
        snprintf(extra, sizeof extra,
                 ",\"signal\":%d,\"signal_name\":\"%s\",\"killed_by_runtime\":%s,"
                 "\"worker\":%u,\"pid\":%d%s",
                 number, name, w->kill_reason ? "true" : "false", w->place->number,
                 (int)w->pid, sibling ? ",\"cause\":\"sibling\"" : "");
        snprintf(how, sizeof how, "was killed by signal %d (%s)", number, name);
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
           ran ? "while it ran" : "before it ran", s->app->name, s->action,
           sibling ? ": another of its lanes was stuck" : "");
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
