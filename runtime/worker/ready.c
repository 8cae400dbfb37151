#include "worker/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptors.h"
#include "base/step.h"
#include "wire/frame.h"
#include "wire/request.h"

/* The arbiter looks at lanes every 250 ms when it has no other reason. It must know of a
 * call whose deadline is nearer than two looks. */
#define NEAR_NS (500 * DIRTY_NS_PER_MS)

/* After a request that the arbiter sent, a lane may take requests of shared connections
 * for so long, even if the arbiter wants it. Otherwise a queue would never empty: a
 * connection whose request waits in the kernel for too long goes back to the queue, and a
 * queued request costs four times as much as one that a lane takes. */
#define SLICE_NS (DIRTY_NS_PER_MS / 5)

struct dirty_ready_copy {
    int fd_plus_one; /* 0: none */
    uint32_t ticket;
    int32_t peer_pid;
    uint32_t peer_uid;
};

/* -- Descriptors ------------------------------------------------------------------- */

/* The lane of this process that has copies: a child that an app forks closes them. */
static dirty_ready *of_process;

static void drop_copy(dirty_ready_copy *copy) {
    if (copy->fd_plus_one > 0)
        close(copy->fd_plus_one - 1);
    copy->fd_plus_one = 0;
}

static void close_copies(dirty_ready *r) {
    for (uint32_t i = 0; r->copies != NULL && i < r->start->sharing.slot_count; i++)
        drop_copy(&r->copies[i]);
}

static void on_fork_in_child(void) {
    if (of_process != NULL)
        close_copies(of_process);
}

int dirty_ready_open(dirty_ready *r, const dirty_worker_start *start,
                     dirty_lane_page *page, dirty_channel *channel, bool has_alarm) {
    static bool registered;
    *r = (dirty_ready){
        .start = start, .page = page, .channel = channel, .has_alarm = has_alarm};
    if (start->sharing.board == NULL)
        return 0;
    r->me = DIRTY_BOARD_LANE + start->sharing.lane_id;
    r->copies = calloc(start->sharing.slot_count, sizeof *r->copies);
    if (r->copies == NULL)
        return -ENOMEM;
    of_process = r;
    if (!registered)
        pthread_atfork(NULL, NULL, on_fork_in_child);
    registered = true;
    return 0;
}

void dirty_ready_close(dirty_ready *r) {
    if (r->copies == NULL)
        return;
    close_copies(r);
    free(r->copies);
    of_process = NULL;
}

static _Atomic uint64_t *word_of(const dirty_ready *r) {
    return &r->start->sharing.board->words[r->slot];
}

/* -- Messages ---------------------------------------------------------------------- */

static void join(dirty_ready *r) {
    r->joined = true;
    pthread_sigmask(SIG_BLOCK, NULL, &r->asleep_mask);
    sigdelset(&r->asleep_mask, DIRTY_WAKE_SIGNAL);
}

void dirty_ready_note(dirty_ready *r) {
    uint32_t kind = r->channel->message.plain.kind;
    r->messages++;
    r->told = false;
    if (r->channel->peer_fd >= 0)
        r->starved = false;
    if (kind == DIRTY_MSG_RESUME && !r->joined && r->copies != NULL)
        join(r);
    if (kind == DIRTY_MSG_STOP)
        r->stopped = true;
}

static int send_plain(const dirty_ready *r, uint32_t kind) {
    dirty_msg_plain m = {.kind = kind};
    return dirty_channel_send(r->channel, &m, sizeof m, NULL, 0);
}

/* Give the connection that this lane owns to the arbiter, with what was received of it.
 * This lane has had its event, and so perhaps the news that the caller sends no more,
 * which the arbiter does not see behind a request. MORE makes it arm the connection anew.
 * If the message can't be sent, the channel is broken, and the next use of it says so. */
static int send_bounced(dirty_ready *r, uint32_t end, size_t len) {
    dirty_msg_bounced m = {.kind = DIRTY_MSG_BOUNCED,
                           .slot = r->slot,
                           .ticket = r->ticket,
                           .end = end,
                           .len = (uint32_t)len};
    if (end == DIRTY_CONNECTION_KEEP)
        dirty_board_take(word_of(r), r->ticket, r->me); /* it has an owner: sets MORE */
    return dirty_channel_send(r->channel, &m, sizeof m, r->page->head, len);
}

/* Is there a reason to listen to the channel and to nothing else? Before it does so, for
 * whatever reason, the lane answers `wanted`: the arbiter waits for that. */
static bool must_listen(dirty_ready *r) {
    bool wanted = atomic_load(&r->page->wanted) != 0;
    bool in_slice = r->slice_until_ns != 0 && dirty_now_ns() < r->slice_until_ns;
    bool has_message = (int32_t)(atomic_load(&r->page->sent) - r->messages) > 0;
    bool listen = has_message || r->starved || (wanted && !in_slice) ||
                  atomic_load(&r->start->sharing.board->shared_count) == 0;
    if (listen)
        r->slice_until_ns = 0;
    if (listen && wanted && !r->told)
        r->told = send_plain(r, DIRTY_MSG_WANT) == 0;
    return listen;
}

/* -- Taking ------------------------------------------------------------------------ */

/* A step of dirty_ready_next. AGAIN: wait for the next event. */
typedef enum step { STEP_AGAIN, STEP_LISTEN, STEP_REQUEST, STEP_BROKEN } step;

/* The lane is idle again, without having answered. */
static void become_idle(dirty_ready *r) {
    if (!dirty_baton_end(r->page, r->seq))
        return;
    /* The arbiter has taken an interest in it meanwhile. */
    dirty_msg_done m = {.kind = DIRTY_MSG_DONE, .dropped = 1, .seq = r->seq};
    r->told = dirty_channel_send(r->channel, &m, sizeof m, NULL, 0) == 0;
}

/* Give back a connection before a request of it has run. */
static step bounce(dirty_ready *r, size_t len) {
    if (send_bounced(r, DIRTY_CONNECTION_KEEP, len) < 0)
        return STEP_BROKEN;
    become_idle(r);
    return STEP_AGAIN;
}

/* Say which connection is taken, before it is: see the order in ready.h. */
static void announce(dirty_ready *r) {
    atomic_store(&r->page->received, 0);
    memset(r->page->head, 0, DIRTY_DIRECT_MARK_BYTES);
    atomic_store(&r->page->connection, (uint64_t)r->ticket << 32 | r->slot);
}

/* The arbiter has a request for this lane. Let the arbiter have the connection too. */
static step pass_on(dirty_ready *r) {
    announce(r);
    if (dirty_board_take(word_of(r), r->ticket, r->me) == DIRTY_BOARD_DONE &&
        send_bounced(r, DIRTY_CONNECTION_KEEP, 0) < 0)
        return STEP_BROKEN;
    return STEP_LISTEN;
}

/* Wait for the descriptor that NEED asked for. Returns false if the channel is broken. */
static bool await_copy(dirty_ready *r, dirty_ready_copy *copy) {
    for (;;) {
        if (dirty_channel_receive(r->channel) < 0)
            return false;
        dirty_ready_note(r);
        const dirty_msg_connection *m = &r->channel->message.connection;
        if (m->kind == DIRTY_MSG_DISPATCH)
            return false; /* this lane has the baton */
        if (m->kind != DIRTY_MSG_COPY)
            continue;
        drop_copy(copy);
        *copy = (dirty_ready_copy){dirty_descriptors_move_up(r->channel->peer_fd) + 1,
                                   m->ticket, m->peer_pid, m->peer_uid};
        r->channel->peer_fd = -1;
        return true;
    }
}

/* Make `fd` the descriptor of the connection, -1 if it can't be had. Returns false if the
 * channel is broken. */
static bool find_copy(dirty_ready *r) {
    dirty_ready_copy *copy = &r->copies[r->slot];
    if (copy->fd_plus_one == 0 || copy->ticket != r->ticket) {
        dirty_msg_connection m = {
            .kind = DIRTY_MSG_NEED, .slot = r->slot, .ticket = r->ticket};
        if (dirty_channel_send(r->channel, &m, sizeof m, NULL, 0) < 0 ||
            !await_copy(r, copy))
            return false;
    }
    r->fd = copy->ticket == r->ticket ? copy->fd_plus_one - 1 : -1;
    r->starved = r->fd < 0;
    r->request.peer_pid = copy->peer_pid;
    r->request.peer_uid = copy->peer_uid;
    return true;
}

static int find_app(const dirty_ready *r, dirty_slice name) {
    for (uint32_t i = 0; i < r->start->app_count; i++) {
        const char *known = r->start->apps[i]->name;
        if (strncmp(known, name.base, name.len) == 0 && known[name.len] == '\0')
            return (int)i;
    }
    return -1;
}

static bool is_arbiter_silent(const dirty_ready *r, uint64_t now_ns) {
    const dirty_sharing *s = &r->start->sharing;
    int64_t silent_ns = (int64_t)(now_ns - atomic_load(&s->board->alive_ns));
    return silent_ns > (int64_t)(s->arbiter_timeout_ms * DIRTY_NS_PER_MS);
}

/* Can this lane serve what it has received? Then `request` describes it. Everything else
 * is for the arbiter to answer. */
static bool is_servable(dirty_ready *r, size_t len, uint64_t now_ns) {
    const uint8_t *head = r->page->head;
    dirty_frame frame;
    dirty_route route;
    /* A full buffer says nothing about what comes behind it. */
    if (len == sizeof r->page->head ||
        !dirty_request_is_whole(head, len, r->start->limits.max_message, &frame, &route))
        return false;
    int app = find_app(r, route.app);
    if (app < 0)
        return false;
    dirty_msg_dispatch *d = &r->request;
    d->kind = DIRTY_MSG_DISPATCH;
    d->app = (uint32_t)app;
    d->seq = r->seq;
    d->arrived_ns = now_ns;
    d->deadline_ns =
        dirty_route_deadline_ns(&route, now_ns, r->start->apps[app]->timeout_ms);
    d->frame_len = d->have_len = (uint32_t)len;
    r->alone = is_arbiter_silent(r, now_ns);
    return !r->alone || d->deadline_ns == 0 ||
           (r->has_alarm && r->start->apps[app]->interruptible);
}

/* Receive into the page. An app may have closed the copy: then get another one. Returns
 * what recv does. */
static ssize_t receive_bytes(dirty_ready *r) {
    for (int tries = 0;; tries++) {
        ssize_t n = recv(r->fd, r->page->head, sizeof r->page->head, MSG_DONTWAIT);
        if (n >= 0 || (errno != EBADF && errno != ENOTSOCK) || tries > 0)
            return n;
        r->copies[r->slot].fd_plus_one = 0; /* the number is the app's now, or nobody's */
        if (!find_copy(r) || r->fd < 0)
            return -1;
    }
}

/* Receive from the connection, which this lane owns. */
static step receive(dirty_ready *r, uint32_t events) {
    dirty_step("taken");
    if (!find_copy(r))
        return STEP_BROKEN;
    r->half_closed = (events & EPOLLRDHUP) != 0;
    if (r->fd < 0 || (events & (EPOLLHUP | EPOLLERR)) != 0) {
        return bounce(r, 0); /* who hung up while waiting must not be served */
    }
    ssize_t n = receive_bytes(r);
    if (n < 0 && (errno == EAGAIN || errno == EINTR) && !r->half_closed) {
        dirty_board_result end = dirty_board_release(word_of(r), r->ticket, r->me, 0);
        r->again = end == DIRTY_BOARD_AGAIN;
        become_idle(r);
        return STEP_AGAIN;
    }
    uint64_t now_ns = dirty_now_ns();
    /* The arbiter may adopt the request once it sees `received`: the time comes first. */
    atomic_store_explicit(&r->page->received_ns, now_ns, memory_order_relaxed);
    dirty_step("noted");
    atomic_store_explicit(&r->page->received, n > 0 ? (uint32_t)n : 0,
                          memory_order_release);
    dirty_step("received");
    if (n > 0 && is_servable(r, (size_t)n, now_ns))
        return STEP_REQUEST;
    return bounce(r, n > 0 ? (size_t)n : 0);
}

static step take(dirty_ready *r, const struct epoll_event *e) {
    r->slot = (uint32_t)e->data.u64;
    r->ticket = (uint32_t)(e->data.u64 >> 32);
    dirty_step("woken");
    /* The page still shows the last request, which may belong to the arbiter by now. It
     * must not be taken for the one that begins here. */
    atomic_store(&r->page->received, 0);
    if (!dirty_baton_claim(r->page, 0, &r->seq)) {
        return pass_on(r);
    }
    r->told = false; /* whatever DONE said: the lane is busy now */
    dirty_step("claimed");
    announce(r);
    dirty_step("announced");
    switch (dirty_board_take(word_of(r), r->ticket, r->me)) {
    case DIRTY_BOARD_DONE: return receive(r, e->events);
    case DIRTY_BOARD_STALE: drop_copy(&r->copies[r->slot]); break;
    default: break;
    }
    become_idle(r);
    return STEP_AGAIN;
}

/* Look again at a connection that this lane still owns: an event came while it served the
 * last request. A new round of the baton lets the arbiter have the lane instead. */
static step take_again(dirty_ready *r) {
    r->again = false;
    announce(r); /* before READING: the page must not show the last request any more */
    if (must_listen(r) || !dirty_baton_claim(r->page, 0, &r->seq))
        return send_bounced(r, DIRTY_CONNECTION_KEEP, 0) < 0 ? STEP_BROKEN : STEP_LISTEN;
    r->told = false;
    struct pollfd p = {.fd = r->fd, .events = POLLIN | POLLRDHUP};
    return receive(r, poll(&p, 1, 0) > 0 ? (uint32_t)p.revents : 0);
}

/* -- Waiting ----------------------------------------------------------------------- */

/* Tell the arbiter that no lane waits any more, if it wants to know. */
static void ring(const dirty_sharing *s) {
    uint64_t one = 1;
    if (atomic_load(&s->board->bell_armed) != 0 &&
        atomic_exchange(&s->board->bell_armed, 0) != 0 &&
        write(s->bell, &one, sizeof one) < 0)
        return; /* it has been rung already */
}

/* Sleep until a connection has input or a signal says that there is a message. Says that
 * it sleeps before it looks for messages a last time: the arbiter sends first and then
 * looks whether the lane sleeps. So one of them sees the other. */
static step sleep_in_epoll(dirty_ready *r) {
    const dirty_sharing *s = &r->start->sharing;
    _Atomic uint64_t *waiting = &s->board->waiting[s->lane_id / 64];
    uint64_t bit = 1ull << s->lane_id % 64;
    struct epoll_event e;
    int n = 0, error = 0;
    atomic_store(&r->page->asleep, 1);
    atomic_fetch_or_explicit(waiting, bit, memory_order_relaxed);
    bool listen = must_listen(r);
    if (!listen) {
        bool wanted = r->slice_until_ns != 0 && atomic_load(&r->page->wanted) != 0;
        n = epoll_pwait(s->epoll, &e, 1, wanted ? 0 : -1, &r->asleep_mask);
        error = n < 0 ? errno : 0;
        if (n == 0)
            r->slice_until_ns = 0; /* nothing is there to be taken */
    }
    atomic_store_explicit(&r->page->asleep, 0, memory_order_relaxed);
    uint64_t before = atomic_fetch_and_explicit(waiting, ~bit, memory_order_relaxed);
    if ((before & ~bit) == 0)
        ring(s);
    if (listen)
        return STEP_LISTEN;
    if (n < 0)
        return error == EINTR ? STEP_AGAIN : STEP_BROKEN;
    return n > 0 && (uint32_t)e.data.u64 < s->slot_count ? take(r, &e) : STEP_AGAIN;
}

dirty_ready_event dirty_ready_next(dirty_ready *r) {
    for (;;) {
        step next = STEP_LISTEN;
        if (r->again)
            next = take_again(r);
        else if (r->joined && !must_listen(r))
            next = sleep_in_epoll(r);
        switch (next) {
        case STEP_AGAIN: break;
        case STEP_LISTEN: return DIRTY_READY_MESSAGE;
        case STEP_REQUEST: return DIRTY_READY_REQUEST;
        case STEP_BROKEN: return DIRTY_READY_BROKEN;
        }
    }
}

void dirty_ready_told(dirty_ready *r, bool sent) {
    r->told = true;
    r->slice_until_ns =
        sent && atomic_load(&r->page->wanted) != 0 ? dirty_now_ns() + SLICE_NS : 0;
}

int dirty_ready_begin(dirty_ready *r) {
    const dirty_msg_dispatch *d = &r->request;
    if (r->alone || d->deadline_ns == 0 || d->deadline_ns > d->arrived_ns + NEAR_NS)
        return 0;
    dirty_msg_start m = {.kind = DIRTY_MSG_START, .seq = r->seq};
    return dirty_channel_send(r->channel, &m, sizeof m, NULL, 0);
}

/* The event with the request has told this lane alone that the caller sends no more. Make
 * the arbiter look for itself when it lets go of the connection. If it has let go
 * already, it gets the connection once more. */
static int tell_half_closed(dirty_ready *r) {
    if (dirty_board_take(word_of(r), r->ticket, r->me) != DIRTY_BOARD_DONE)
        return 0;
    return send_bounced(r, DIRTY_CONNECTION_KEEP, 0);
}

int dirty_ready_answered(dirty_ready *r, const dirty_msg_done *done) {
    if (done->dropped)
        return 0; /* the arbiter owns the connection */
    if (dirty_baton_is_reported(r->page, r->seq))
        return r->half_closed ? tell_half_closed(r) : 0; /* it will with DONE */
    if (done->connection == DIRTY_CONNECTION_LOST)
        shutdown(r->fd, SHUT_RDWR); /* nobody may write behind half a frame */
    if (done->connection != DIRTY_CONNECTION_KEEP || r->half_closed) {
        return send_bounced(r, done->connection, 0);
    }
    r->again = dirty_board_release(word_of(r), r->ticket, r->me, 1) == DIRTY_BOARD_AGAIN;
    dirty_step("released");
    return 0;
}
