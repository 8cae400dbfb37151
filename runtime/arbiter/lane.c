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

#include "arbiter/app.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/ratelimit.h"

/* Repeat an interrupt at this interval until the lane has left the app: one signal can
 * be lost. */
#define RESEND_MS 10
/* Retry after this time if the kernel is short of a resource. */
#define RETRY_MS 20
/* Log a lasting shortage at most once in this time. */
#define QUIET_MS 5000
/* Size of the largest message of a lane: a returned request or a boot error. */
#define MESSAGE_MAX \
    (sizeof(dirty_msg_plain) + sizeof(dirty_msg_dispatch) + DIRTY_CHANNEL_TEXT_MAX)

static void on_channel(uv_poll_t *handle, int status, int events);

static const lane_events *events_of(const lane *l) {
    return l->a->lane_events;
}

int lane_open(lane *l) {
    int rc = uv_poll_init(&l->a->loop, &l->poll, l->fd);
    if (rc < 0)
        return rc;
    l->poll_open = true;
    l->poll.data = l->timer.data = l;
    uv_timer_init(&l->a->loop, &l->timer);
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
    dirty_call_counts_close(l->counts, l->deal->app_count);
    l->counts = NULL;
    free(l->folded);
    l->folded = NULL;
}

/* -- Dispatch to a lane ---------------------------------------------------------- */

void lane_retire(lane *l) {
    if (l->in_idle)
        DL_DELETE(l->a->idle, l);
    l->in_idle = false;
}

void lane_note_idle(lane *l) {
    /* The lane used last comes first: its caches are warm. */
    if (!l->in_idle)
        DL_PREPEND(l->a->idle, l);
    l->in_idle = true;
}

/* Count a message that was sent to a lane that may wait for shared connections, and wake
 * it from that. */
static void wake(const lane *l) {
    dirty_lane_page *page = l->page;
    atomic_fetch_add(&page->sent, 1);
    if (l->joined && atomic_load(&page->asleep) != 0 && !l->ended)
        syscall(SYS_tgkill, l->worker_pid, (pid_t)atomic_load(&page->tid),
                DIRTY_WAKE_SIGNAL);
}

/* Returns 0 or -errno. */
static int send_message(const lane *l, const struct msghdr *msg) {
    ssize_t n;
    do
        n = sendmsg(l->fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    wake(l);
    return 0;
}

static int send_plain(const lane *l, uint32_t kind) {
    dirty_msg_plain m = {.kind = kind};
    struct iovec part = {&m, sizeof m};
    return send_message(l, &(struct msghdr){.msg_iov = &part, .msg_iovlen = 1});
}

int lane_send_stop(lane *l) {
    return send_plain(l, DIRTY_MSG_STOP);
}

/* Is it a temporary shortage in the kernel? It says nothing about the lane.
 * ETOOMANYREFS: too many descriptors of one user are in flight. The others: memory, or
 * room in the channel. */
static bool is_shortage(int rc) {
    return rc == -ETOOMANYREFS || rc == -ENOBUFS || rc == -ENOMEM || rc == -EAGAIN;
}

void lane_resume(lane *l) {
    l->wanted = l->unsent = false;
    atomic_store(&l->page->wanted, 0);
    l->joined = true;
    int rc = send_plain(l, DIRTY_MSG_RESUME);
    l->unsent = is_shortage(rc);
    if (rc < 0 && !l->unsent && rc != -EPIPE && rc != -ECONNRESET)
        events_of(l)->broken(l, "RESUME can't be sent");
}

void lane_send_copy(lane *l, const dirty_msg_connection *m, int fd) {
    struct iovec part = {(void *)(uintptr_t)m, sizeof *m};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    dirty_fdpass_room room;
    if (fd >= 0)
        dirty_fdpass_attach(&msg, &room, &fd, 1);
    int rc = send_message(l, &msg);
    if (rc < 0 && fd >= 0) /* too many descriptors are in flight: go without it */
        rc = send_message(l, &(struct msghdr){.msg_iov = &part, .msg_iovlen = 1});
    if (rc < 0 && rc != -EPIPE && rc != -ECONNRESET)
        events_of(l)->broken(l, "COPY can't be sent");
}

/* Send DISPATCH with the caller's descriptor. A gathered request is sent as its
 * file. */
static int send_dispatch(const lane *l, const request *r, int at, struct iovec bytes) {
    const upload *u = &r->upload;
    int fds[2] = {r->fd, u->open ? u->fd : -1};
    dirty_msg_dispatch m = {
        .kind = DIRTY_MSG_DISPATCH,
        .app = (uint32_t)at,
        .seq = l->seq,
        .arrived_ns = r->arrived_ns,
        .deadline_ns = r->deadline_ns,
        .recv_deadline_ns = r->recv_deadline_ns,
        .frame_len = r->frame_len,
        .have_len = (uint32_t)bytes.iov_len,
        .gathered = u->open,
        .others_wait = l->a->queued > 1, /* more than this one */
        .peer_pid = r->peer_pid,
        .peer_uid = r->peer_uid,
    };
    struct iovec parts[2] = {{&m, sizeof m}, bytes};
    dirty_fdpass_room room;
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    dirty_fdpass_attach(&msg, &room, fds, u->open ? 2 : 1);
    return send_message(l, &msg);
}

static void on_retry(uv_timer_t *handle) {
    arbiter *a = handle->data;
    arbiter_mark(a, MARK_REMATCH);
}

static void retry_later(arbiter *a, int rc) {
    if (dirty_ratelimit_pass(&a->shortage_limit, QUIET_MS))
        dirty_log(DIRTY_LOG_WARN, "requests wait: no descriptor can be passed to a lane",
                  "reason=%s queued=%u remedy=%s", DIRTY_LOG_QUOTE(strerror(-rc)),
                  a->queued, DIRTY_LOG_QUOTE(dirty_log_remedy(rc)));
    if (!uv_is_active((uv_handle_t *)&a->retry_timer))
        uv_timer_start(&a->retry_timer, on_retry, RETRY_MS, 0);
}

/* Take the baton of an idle lane. If the lane has taken a request itself, let it say when
 * it is free. It looks at `wanted` after it is idle, and we look at the baton after we
 * have set `wanted`: one of us sees the other. */
static bool claim(lane *l) {
    if (!l->joined) {
        dirty_baton_begin(l->page, ++l->seq);
        return true;
    }
    if (dirty_baton_claim(l->page, DIRTY_BATON_REPORT, &l->seq))
        return true;
    l->wanted = true;
    atomic_store(&l->page->wanted, 1);
    return dirty_baton_claim(l->page, DIRTY_BATON_REPORT, &l->seq);
}

/* Rare paths that log are not inlined, so that sending does not pay for the registers and
 * the stack that they need. */
static __attribute__((noinline, cold)) lane_send_result send_failed(lane *l, int rc) {
    dirty_baton_end(l->page, l->seq); /* the request was not sent */
    l->unsent = true;
    if (rc == -EPIPE || rc == -ECONNRESET)
        return LANE_LOST; /* it died: the channel's end is reported soon */
    if (is_shortage(rc)) {
        retry_later(l->a, rc);
        return LANE_LATER;
    }
    dirty_log(DIRTY_LOG_WARN, "can't send to a lane", "worker=%u lane=%u reason=%s",
              l->worker_number, l->number, DIRTY_LOG_QUOTE(strerror(-rc)));
    return LANE_BROKEN;
}

/* Link the request `seq`, of the app at `at` in the deal. */
static void link_request(lane *l, request *r, int at, uint64_t now_ns) {
    lane_retire(l);
    l->busy = true;
    l->late = false;
    l->interrupted = DIRTY_CODE_NONE;
    l->request = r;
    r->lane = l;
    l->app = r->app;
    l->spec = l->deal->specs[at];
    l->started_ns = now_ns;
    l->queue_ns = l->started_ns - r->arrived_ns;
    l->caller_pid = r->peer_pid;
    memcpy(l->action, r->action, r->action_len + 1u);
}

void lane_adopt(lane *l, request *r, uint64_t seq) {
    l->seq = seq;
    link_request(l, r, deal_at(l->deal, r->app), dirty_now_ns());
}

bool lane_has_call(const lane *l) {
    return l->busy || (l->joined && l->page != NULL &&
                       !dirty_baton_is_idle(dirty_baton_load(l->page)));
}

lane_send_result lane_send(lane *l, request *r, const uint8_t *bytes, size_t len,
                           uint64_t now_ns) {
    int at = deal_at(l->deal, r->app);
    if (!claim(l)) {
        lane_retire(l); /* until it sends WANT */
        return LANE_BUSY;
    }
    r->recv_deadline_ns = r->recv_left_ns ? now_ns + r->recv_left_ns : 0;
    int rc = send_dispatch(l, r, at, (struct iovec){(void *)(uintptr_t)bytes, len});
    if (rc < 0)
        return send_failed(l, rc);
    link_request(l, r, at, now_ns);
    return LANE_SENT;
}

void lane_detach(lane *l) {
    if (l->request != NULL)
        l->request->lane = NULL;
    l->request = NULL;
}

/* -- Messages -------------------------------------------------------------------- */

/* Release the lane's request. Returns it, or NULL if it was answered or its caller is
 * gone. */
static request *release(lane *l) {
    request *r = l->request;
    lane_detach(l);
    l->busy = false;
    if (l->interrupted != DIRTY_CODE_NONE)
        uv_timer_stop(&l->timer);
    return r;
}

void lane_count(const lane *l, dirty_code outcome) {
    if (atomic_load(&l->page->counted) != l->seq)
        app_count(l->a, l->app,
                  &(meter_sample){.action = l->action,
                                  .outcome = outcome,
                                  .resolved = true,
                                  .queue_ns = l->queue_ns});
}

void lane_fold_counts(lane *l) {
    if (l->folded == NULL)
        l->folded = calloc(1, dirty_call_counts_bytes(l->deal->app_count));
    if (l->folded != NULL && l->counts != NULL)
        app_fold_counts(l->a, l->deal->apps, l->deal->app_count, l->counts, l->folded);
}

static void on_done(lane *l, const dirty_msg_done *m) {
    if (m->seq != l->seq || m->outcome > DIRTY_CODE_LAST || !l->busy)
        events_of(l)->broken(l, "DONE for a request that it does not have");
    else
        events_of(l)->done(l, release(l), m);
}

static void on_returned(lane *l, const uint8_t *bytes, size_t len) {
    dirty_msg_dispatch m = {0};
    if (len >= sizeof m)
        memcpy(&m, bytes, sizeof m);
    if (!l->busy || m.seq != l->seq || m.have_len != len - sizeof m)
        events_of(l)->broken(l, "NO_DESCRIPTOR for a request that it does not have");
    else
        events_of(l)->returned(l, release(l), bytes + sizeof m, m.have_len);
}

static void on_stalled(lane *l, const dirty_msg_stalled *m, int file) {
    if (m->seq == l->seq && l->busy && file >= 0) {
        events_of(l)->stalled(l, release(l), file, m->have_len);
        return;
    }
    if (file >= 0)
        close(file);
    events_of(l)->broken(l, "STALLED for a request that it does not have");
}

static void on_ready(lane *l) {
    if (l->ready || l->boot_failed) {
        events_of(l)->broken(l, "a second READY");
        return;
    }
    l->ready = true;
    events_of(l)->ready(l);
}

static void on_boot_failed(lane *l, const uint8_t *text, size_t len) {
    if (l->ready || l->boot_failed) {
        events_of(l)->broken(l, "BOOT_FAILED after the boot");
        return;
    }
    l->boot_failed = true;
    events_of(l)->boot_failed(l, (const char *)text, len);
}

/* Handle a message about shared connections. Returns false if it is none. */
static bool on_sharing_message(lane *l, uint32_t kind, const uint8_t *bytes, size_t len) {
    dirty_msg_bounced bounced;
    dirty_msg_connection connection;
    dirty_msg_start start;
    if (kind == DIRTY_MSG_BOUNCED && len >= sizeof bounced) {
        memcpy(&bounced, bytes, sizeof bounced);
        if (bounced.len != len - sizeof bounced || bounced.len > DIRTY_DIRECT_BYTES_MAX)
            return false;
        events_of(l)->bounced(l, &bounced, bytes + sizeof bounced);
    } else if (kind == DIRTY_MSG_NEED && len == sizeof connection) {
        memcpy(&connection, bytes, sizeof connection);
        events_of(l)->needs(l, &connection);
    } else if (kind == DIRTY_MSG_START && len == sizeof start) {
        memcpy(&start, bytes, sizeof start);
        events_of(l)->started(l, start.seq);
    } else if (kind == DIRTY_MSG_WANT) {
        events_of(l)->wants(l);
    } else {
        return false;
    }
    return true;
}

/* Handle one message. `file` is the descriptor that came with it, -1: none. */
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
    } else if (l->joined && on_sharing_message(l, plain.kind, bytes, len)) {
        /* handled */
    } else if (plain.kind == DIRTY_MSG_NO_DESCRIPTOR) {
        on_returned(l, bytes + sizeof plain, len - sizeof plain);
    } else if (plain.kind == DIRTY_MSG_READY) {
        on_ready(l);
    } else if (plain.kind == DIRTY_MSG_BOOT_FAILED) {
        on_boot_failed(l, bytes + sizeof plain, len - sizeof plain);
    } else {
        events_of(l)->broken(l, "an unknown message");
    }
    if (file >= 0)
        close(file); /* unexpected descriptor */
}

/* Returns the message's descriptor, -1: none. Closes a second one. */
static int take_file(struct msghdr *m) {
    int fds[DIRTY_FDPASS_MAX];
    if (dirty_fdpass_take(m, fds) == 2)
        close(fds[1]);
    return fds[0];
}

/* Receive one message. Returns 1 if one was handled, 0 if none is there, negative if
 * the channel has ended. */
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
        events_of(l)->ended(l);
    }
}

void lane_drain_channel(lane *l) {
    while (l->fd >= 0 && receive(l) > 0)
        continue;
}

/* -- Interrupting ---------------------------------------------------------------- */

static void send_interrupt(const lane *l, unsigned reason) {
    uint32_t tid = atomic_load(&l->page->tid);
    atomic_store(&l->page->interrupt, l->seq << 8 | reason);
    /* The page may name a wrong thread. The kernel checks that the thread is the
     * worker's. */
    if (tid != 0 && !l->ended)
        syscall(SYS_tgkill, l->worker_pid, (pid_t)tid, DIRTY_INTERRUPT_SIGNAL);
}

void lane_interrupt_again(const lane *l) {
    if (l->interrupted != DIRTY_CODE_NONE && l->spec->interruptible &&
        dirty_baton_read(l->page, l->seq) == DIRTY_BATON_RUNNING)
        send_interrupt(l, l->interrupted);
}

static void on_tick(uv_timer_t *handle) {
    lane *l = handle->data;
    if (!l->busy || l->ended)
        uv_timer_stop(handle);
    else if (dirty_now_ns() >= l->seize_ns)
        events_of(l)->overdue(l);
    else
        lane_interrupt_again(l);
}

static void drive(lane *l, uint32_t grace_ms) {
    l->seize_ns = dirty_now_ns() + grace_ms * DIRTY_NS_PER_MS;
    uv_timer_start(&l->timer, on_tick, 0, RESEND_MS);
}

void lane_interrupt(lane *l, dirty_code reason) {
    if (!l->busy || l->interrupted != DIRTY_CODE_NONE)
        return;
    l->interrupted = reason;
    l->grace_until_ns = dirty_now_ns() + l->plan->o->timeout_grace_ms * DIRTY_NS_PER_MS;
    /* A lane that still reads has not started the app: no grace is needed. */
    bool reads = dirty_baton_read(l->page, l->seq) == DIRTY_BATON_READING;
    drive(l, reads ? 0 : l->plan->o->timeout_grace_ms);
}

void lane_caller_gone(lane *l) {
    if (l->spec->cancel_on_disconnect || atomic_load(&l->page->streaming) == l->seq)
        lane_interrupt(l, DIRTY_CODE_CANCELLED);
}

bool lane_take_unstarted(lane *l) {
    return dirty_baton_read(l->page, l->seq) == DIRTY_BATON_READING &&
           dirty_baton_move(l->page, l->seq, DIRTY_BATON_READING, DIRTY_BATON_TAKEN);
}

void lane_abandon(lane *l) {
    lane_detach(l);
    if (l->interrupted != DIRTY_CODE_NONE)
        return; /* the timer runs already */
    l->interrupted = DIRTY_CODE_CANCELLED;
    lane_take_unstarted(l);
    bool unstarted = dirty_baton_read(l->page, l->seq) == DIRTY_BATON_TAKEN;
    drive(l, unstarted ? LANE_EXIT_MS : l->plan->o->timeout_grace_ms);
}

bool lane_ask_stack(lane *l) {
    if (!l->busy || l->interrupted != DIRTY_CODE_NONE || !l->spec->interruptible ||
        dirty_baton_read(l->page, l->seq) != DIRTY_BATON_RUNNING)
        return false;
    send_interrupt(l, DIRTY_INTERRUPT_STACK);
    return true;
}
