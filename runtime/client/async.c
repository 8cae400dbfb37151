/* async: dirty_async, the event-driven client. See dirty.h.
 *
 * An epoll holds the connections and a timer; the caller's loop watches its descriptor.
 * All calls are in one list, ordered by the time at which they fail unanswered. Calls
 * without a connection are also in a second list, in order of arrival. Callbacks may do
 * anything. So a link that is closed in a callback is marked dead, and freed at the end
 * of the round. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "client/alloc.h"
#include "client/async_link.h"
#include "client/socket_path.h"

#define MAX_CONNECTIONS_DEFAULT 16
#define MAX_WAITING_DEFAULT 1024
/* Limits of one round of dirty_async_ready: events, and chunks of a stream per event. */
#define ROUND_EVENTS 64
#define ROUND_CHUNKS 64
/* Interval of the tries to connect while the backlog is full. */
#define CONNECT_AGAIN_MS 5

typedef struct dirty_async_call {
    uint64_t ticket;
    dirty_request *request; /* owned */
    dirty_async_cb cb;
    void *arg;
    bool streams, paused, waiting;
    uint64_t start_ns, deadline_ns, due_ns;
    dirty_link *link;                     /* NULL while it waits for one */
    struct dirty_async_call *prev, *next; /* in dirty_async.calls, ordered by due_ns */
    struct dirty_async_call *wait_prev, *wait_next;
} call;

struct dirty_async {
    dirty_client base; /* the options, and why the last call was refused */
    int epoll_fd, timer_fd;
    uint32_t max_connections, max_waiting;
    dirty_link *links, *dead;
    uint32_t link_count;
    call *calls, *waiting;
    size_t call_count;
    uint64_t last_ticket;
    uint64_t timer_ns; /* when the timer expires; 0: off */
    uint64_t round;    /* counts the expirations of the timer */
    pid_t owner;       /* the process that created it; in a forked one it is a copy */
    int depth;         /* nesting of callbacks and rounds */
    bool freeing;
};

/* A forked process shares the epoll and the timer with its parent: a change in one
 * process affects the other. */
static bool is_ours(const dirty_async *a) {
    return a->owner == getpid();
}

/* -- Time --------------------------------------------------------------------------- */

/* Set the timer to `at_ns`, unless it expires earlier. */
static void wake_at(dirty_async *a, uint64_t at_ns) {
    if (a->timer_ns != 0 && a->timer_ns <= at_ns)
        return;
    struct itimerspec when = {
        .it_value = {(time_t)(at_ns / 1000000000ull), (long)(at_ns % 1000000000ull)}};
    a->timer_ns = at_ns;
    timerfd_settime(a->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Insert the call by due_ns. Search from the tail: most calls have the same budget, so it
 * is nearly always the last. */
static void list_call(dirty_async *a, call *c) {
    call *before = a->calls ? a->calls->prev : NULL; /* the tail */
    while (before != NULL && before->due_ns > c->due_ns)
        before = before == a->calls ? NULL : before->prev;
    if (before == NULL)
        DL_PREPEND(a->calls, c);
    else
        DL_APPEND_ELEM(a->calls, before, c);
    wake_at(a, a->calls->due_ns);
}

/* -- Links -------------------------------------------------------------------------- */

static dirty_link *new_link(dirty_async *a) {
    dirty_link *l = dirty_realloc(NULL, sizeof *l);
    if (l == NULL)
        return NULL;
    memset(l, 0, sizeof *l);
    l->client.address = a->base.address;
    l->client.private_dir = a->base.private_dir;
    l->client.timeout_ms = a->base.timeout_ms;
    l->client.max_message = a->base.max_message;
    dirty_conn_init(&l->client.conn);
    dirty_failure_init(&l->client.failure);
    DL_APPEND(a->links, l);
    a->link_count++;
    return l;
}

/* Register with epoll the events that the link waits for. */
static void watch(dirty_async *a, dirty_link *l) {
    uint32_t wants = l->call != NULL && l->call->paused ? 0 : dirty_link_wants(l);
    const dirty_conn *conn = &l->client.conn;
    if (conn->born != l->born || conn->fd < 0) { /* closing the old one has removed it */
        l->born = conn->born;
        l->events = 0;
    }
    if (wants == l->events)
        return;
    struct epoll_event event = {.events = wants, .data = {.ptr = l}};
    int op = wants == 0 ? EPOLL_CTL_DEL : l->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    l->events = epoll_ctl(a->epoll_fd, op, conn->fd, &event) == 0 ? wants : 0;
    if (l->events != wants) { /* the kernel has no memory: use the timer instead */
        l->kicked = true;
        wake_at(a, dirty_now_ns() + CONNECT_AGAIN_MS * DIRTY_NS_PER_MS);
    }
}

static void bury(dirty_async *a, dirty_link *l) {
    dirty_conn_close(&l->client.conn);
    DL_DELETE(a->links, l);
    a->link_count--;
    l->dead = true;
    l->call = NULL;
    l->next = a->dead;
    a->dead = l;
}

static void free_dead(dirty_async *a) {
    while (a->dead != NULL) {
        dirty_link *l = a->dead;
        a->dead = l->next;
        dirty_failure_deinit(&l->client.failure);
        dirty_dealloc(l);
    }
}

/* The call has left its link. Keep the link for the next call, or mark it dead. */
static void release_link(dirty_async *a, dirty_link *l) {
    l->call = NULL;
    l->kicked = false;
    if (dirty_conn_is_open(&l->client.conn))
        watch(a, l);
    else
        bury(a, l);
}

/* -- Outcomes ----------------------------------------------------------------------- */

static void call_back(dirty_async *a, call *c, dirty_outcome *outcome,
                      const dirty_failure *failure) {
    outcome->message = failure->message.base;
    outcome->message_len = failure->message.len;
    outcome->details = failure->details.base;
    outcome->started = failure->started;
    a->depth++;
    c->cb(a, outcome, c->arg);
    a->depth--;
    dirty_reply_free(outcome->reply);
}

dirty_reply *dirty_outcome_take(dirty_outcome *outcome) {
    dirty_reply *reply = outcome->reply;
    outcome->reply = NULL;
    return reply;
}

/* Remove the call from all lists. Its last callback comes next. */
static void unlist(dirty_async *a, call *c) {
    DL_DELETE(a->calls, c);
    a->call_count--;
    if (c->waiting)
        DL_DELETE2(a->waiting, c, wait_prev, wait_next);
    c->waiting = false;
}

static void free_call(call *c) {
    dirty_request_free(c->request);
    dirty_dealloc(c);
}

/* Call back for the last time, with the link's reply or failure. */
static void finish(dirty_async *a, call *c) {
    dirty_link *l = c->link;
    dirty_outcome outcome = {.reply = l->x.reply, .err = dirty_err(&l->client)};
    if (outcome.err != 0)
        outcome.err = dirty_exchange_describe(&l->x);
    l->x.reply = NULL;
    dirty_exchange_deinit(&l->x);
    unlist(a, c);
    c->link = NULL;
    call_back(a, c, &outcome, &l->client.failure);
    free_call(c);
    release_link(a, l);
}

/* End a call with a failure of our own, and give up its connection. */
static void fail(dirty_async *a, call *c, int code, const char *words) {
    dirty_link *l = c->link;
    dirty_outcome outcome = {.err = code};
    const char *started = l != NULL ? l->x.started : "no";
    dirty_failure failure; /* a copy: the callback may cause other failures */
    dirty_failure_init(&failure);
    dirty_failure_set(&failure, code, started, "%s.%s %s", c->request->app,
                      c->request->action, words);
    dirty_failure_describe(&failure, c->request->app_name, c->request->action_name,
                           (dirty_now_ns() - c->start_ns) / DIRTY_NS_PER_MS);
    unlist(a, c);
    if (l != NULL) {
        dirty_exchange_deinit(&l->x);
        bury(a, l);
    }
    call_back(a, c, &outcome, &failure);
    free_call(c);
}

/* Drop a call of the parent process here. It goes on in the parent. */
static void forget(dirty_async *a, call *c) {
    unlist(a, c);
    if (c->link != NULL) {
        dirty_exchange_deinit(&c->link->x);
        bury(a, c->link);
    }
    free_call(c);
}

/* -- Driving ------------------------------------------------------------------------ */

static void give_chunk(dirty_async *a, call *c) {
    dirty_link *l = c->link;
    dirty_outcome outcome = {.reply = l->x.reply, .more = 1};
    l->x.reply = NULL;
    call_back(a, c, &outcome, &l->client.failure);
}

/* Let the timer drive a link, at once: no event will come for what it waits for. */
static void kick(dirty_async *a, dirty_link *l) {
    l->kicked = true;
    wake_at(a, 1);
}

/* Drive a link until it waits, has used its share of the round, its call ends, or a
 * callback has removed it. */
static void drive(dirty_async *a, dirty_link *l) {
    call *c = l->call;
    for (int chunks = 0; !l->dead && l->call == c && !c->paused; chunks++) {
        if (chunks == ROUND_CHUNKS) { /* the next chunk may be in the buffer already: no
                                         event would come */
            kick(a, l);
            break;
        }
        dirty_link_step step = dirty_link_go(l);
        if (step == DIRTY_LINK_ENDS) {
            finish(a, c);
            return;
        }
        if (step == DIRTY_LINK_WAITS) {
            if (l->state == DIRTY_LINK_CONNECTING)
                wake_at(a, dirty_now_ns() + CONNECT_AGAIN_MS * DIRTY_NS_PER_MS);
            break;
        }
        give_chunk(a, c);
    }
    if (!l->dead)
        watch(a, l);
}

/* Give the call to the link and start it. */
static void begin(dirty_async *a, call *c, dirty_link *l) {
    dirty_exchange x;
    DL_DELETE2(a->waiting, c, wait_prev, wait_next);
    c->waiting = false;
    c->link = l;
    l->call = c;
    dirty_exchange_init(&x, &l->client, c->request);
    x.start_ns = c->start_ns;
    x.deadline_ns = c->deadline_ns;
    x.until_ns = c->deadline_ns + DIRTY_MARGIN_MS * DIRTY_NS_PER_MS;
    x.nonblocking = true;
    x.streams = c->streams;
    DL_DELETE(a->calls, c);
    c->due_ns = x.until_ns;
    list_call(a, c);
    dirty_link_begin(l, &x);
    drive(a, l);
}

static dirty_link *idle_link(dirty_async *a) {
    dirty_link *l;
    DL_FOREACH (a->links, l)
        if (l->call == NULL)
            return l;
    return a->link_count < a->max_connections ? new_link(a) : NULL;
}

/* Start waiting calls while connections are free. Calls made by their callbacks start in
 * the next round, so that an immediate retry can't keep this round from ending. */
static void run_waiting(dirty_async *a) {
    uint64_t last = a->last_ticket;
    while (a->waiting != NULL && !a->freeing) {
        dirty_link *l = idle_link(a);
        if (l == NULL && a->link_count > 0)
            return; /* the next call that ends comes here again */
        if (a->waiting->ticket > last) {
            wake_at(a, 1);
            return;
        }
        if (l != NULL)
            begin(a, a->waiting, l);
        else
            fail(a, a->waiting, DIRTY_EMEMORY,
                 "was not sent: out of memory in the client");
    }
}

/* A link that the timer must drive and has not yet driven in this round. Callbacks may
 * change the list, so each search starts at its head. */
static dirty_link *link_to_kick(dirty_async *a) {
    dirty_link *l;
    DL_FOREACH (a->links, l)
        if (l->call != NULL && l->round != a->round &&
            (l->kicked || l->state == DIRTY_LINK_CONNECTING))
            return l;
    return NULL;
}

static void expire(dirty_async *a) {
    uint64_t now_ns = dirty_now_ns(), ticks;
    if (read(a->timer_fd, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
        return;
    a->timer_ns = 0;
    while (a->calls != NULL && a->calls->due_ns <= now_ns)
        fail(a, a->calls, DIRTY_ETIMEOUT,
             a->calls->link == NULL ? "waited for a connection until its budget ended"
                                    : "got no answer within its budget and 2000 ms more");
    a->round++;
    for (dirty_link *l; (l = link_to_kick(a)) != NULL;) {
        l->round = a->round;
        l->kicked = false;
        drive(a, l);
    }
    if (a->calls != NULL)
        wake_at(a, a->calls->due_ns);
}

/* An event on a link. Input on an idle connection means that it has ended or is
 * broken. */
static void on_link(dirty_async *a, dirty_link *l) {
    if (l->dead)
        return;
    if (l->call == NULL)
        bury(a, l);
    else
        drive(a, l);
}

static void destroy(dirty_async *a) {
    while (a->links != NULL)
        bury(a, a->links);
    free_dead(a);
    if (a->epoll_fd >= 0)
        close(a->epoll_fd);
    if (a->timer_fd >= 0)
        close(a->timer_fd);
    dirty_failure_deinit(&a->base.failure);
    dirty_dealloc(a);
}

/* Leave a function that may have called back. False: the client was freed. */
static bool leave(dirty_async *a) {
    if (--a->depth > 0)
        return true;
    if (a->freeing) {
        destroy(a);
        return false;
    }
    free_dead(a);
    return true;
}

void dirty_async_ready(dirty_async *a) {
    struct epoll_event events[ROUND_EVENTS];
    if (a == NULL || a->depth > 0 || !is_ours(a))
        return; /* called from a callback: the outer round goes on by itself */
    int n = epoll_wait(a->epoll_fd, events, ROUND_EVENTS, 0);
    a->depth++;
    for (int i = 0; i < n && !a->freeing; i++) {
        if (events[i].data.ptr == NULL)
            expire(a);
        else
            on_link(a, events[i].data.ptr);
    }
    run_waiting(a);
    leave(a);
}

/* -- Calls -------------------------------------------------------------------------- */

/* Refuse a call. dirty_async_errmsg returns `words`. */
static int refuse(dirty_async *a, int code, const char *words) {
    return dirty_failure_set(&a->base.failure, code, "no", "%s", words);
}

static int check(dirty_async *a, const dirty_request *r, dirty_async_cb cb) {
    dirty_exchange x;
    if (!is_ours(a))
        return refuse(a, DIRTY_EINVALID,
                      "the client was opened before this process was forked: open "
                      "another here");
    if (a->freeing)
        return refuse(a, DIRTY_EINVALID, "the client was freed");
    int rc = dirty_exchange_init(&x, &a->base, r);
    if (rc == 0 && cb == NULL)
        rc = refuse(a, DIRTY_EINVALID, "no callback given");
    /* Count all calls: those about to get a connection are not in the waiting list. */
    if (rc == 0 && a->call_count >= (uint64_t)a->max_connections + a->max_waiting)
        rc = dirty_failure_set(&a->base.failure, DIRTY_EOVERLOADED, "no",
                               "all %u connections have calls and %u more wait; raise "
                               "max_connections or max_waiting, or make fewer calls",
                               a->max_connections, a->max_waiting);
    return rc;
}

static int queue(dirty_async *a, dirty_request *r, const call *model, uint64_t *ticket) {
    if (a == NULL)
        return DIRTY_EMEMORY;
    int rc = check(a, r, model->cb);
    call *c = rc == 0 ? dirty_realloc(NULL, sizeof *c) : NULL;
    if (c == NULL)
        return rc == 0 ? refuse(a, DIRTY_EMEMORY, "out of memory in the client") : rc;
    *c = *model;
    c->ticket = ++a->last_ticket;
    c->request = r;
    c->start_ns = dirty_now_ns();
    c->deadline_ns = c->due_ns =
        c->start_ns +
        (r->budget_ms ? r->budget_ms : a->base.timeout_ms) * DIRTY_NS_PER_MS;
    c->waiting = true;
    DL_APPEND2(a->waiting, c, wait_prev, wait_next);
    a->call_count++;
    list_call(a, c);
    /* Inside a round, its end starts the call or plans the next round. Else the timer
     * does. */
    if (a->depth == 0)
        wake_at(a, 1);
    if (ticket != NULL)
        *ticket = c->ticket;
    return 0;
}

int dirty_async_call(dirty_async *a, dirty_request *r, dirty_async_cb cb, void *arg,
                     uint64_t *ticket) {
    return queue(a, r, &(call){.cb = cb, .arg = arg}, ticket);
}

int dirty_async_stream(dirty_async *a, dirty_request *r, dirty_async_cb cb, void *arg,
                       uint64_t *ticket) {
    return queue(a, r, &(call){.cb = cb, .arg = arg, .streams = true}, ticket);
}

static call *find_call(dirty_async *a, uint64_t ticket) {
    call *c;
    DL_FOREACH (a->calls, c)
        if (c->ticket == ticket)
            return c;
    return NULL;
}

int dirty_async_cancel(dirty_async *a, uint64_t ticket) {
    call *c = a != NULL && is_ours(a) ? find_call(a, ticket) : NULL;
    if (c == NULL)
        return DIRTY_EINVALID;
    a->depth++;
    fail(a, c, DIRTY_ECANCELLED, "was cancelled by its caller");
    if (leave(a) && a->depth == 0 && a->waiting != NULL)
        wake_at(a, 1); /* its connection is free for the next call */
    return 0;
}

int dirty_async_pause(dirty_async *a, uint64_t ticket, int paused) {
    call *c = a != NULL && is_ours(a) ? find_call(a, ticket) : NULL;
    if (c == NULL)
        return DIRTY_EINVALID;
    c->paused = paused != 0;
    if (c->link == NULL)
        return 0;
    watch(a, c->link);
    if (!c->paused) /* chunks may be in the buffer already, read with the last one */
        kick(a, c->link);
    return 0;
}

size_t dirty_async_pending(const dirty_async *a) {
    return a == NULL ? 0 : a->call_count;
}

/* -- Life cycle ---------------------------------------------------------------------- */

void dirty_async_options_init(dirty_async_options *options) {
    *options = (dirty_async_options){.max_connections = MAX_CONNECTIONS_DEFAULT,
                                     .max_waiting = MAX_WAITING_DEFAULT};
    dirty_options_init(&options->client);
}

static int open_descriptors(dirty_async *a) {
    a->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    a->timer_fd = a->epoll_fd < 0
                      ? -1
                      : timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = NULL}};
    if (a->timer_fd < 0 || epoll_ctl(a->epoll_fd, EPOLL_CTL_ADD, a->timer_fd, &event) < 0)
        return dirty_failure_set(
            &a->base.failure, DIRTY_EMEMORY, "no",
            "can't create the descriptors of an event-driven client: "
            "%s",
            strerrordesc_np(errno));
    return 0;
}

static int configure(dirty_async *a, const dirty_async_options *options) {
    int rc = dirty_client_init(&a->base, &options->client);
    a->max_connections = options->max_connections;
    a->max_waiting = options->max_waiting;
    if (rc == 0 && (a->max_connections == 0 || a->max_waiting == 0))
        rc = dirty_failure_set(&a->base.failure, DIRTY_EINVALID, "no",
                               "max_%s is 0: must be at least 1",
                               a->max_connections == 0 ? "connections" : "waiting");
    return rc;
}

int dirty_async_open(dirty_async **out, const dirty_async_options *options) {
    dirty_async_options defaults;
    dirty_async *a = *out = dirty_realloc(NULL, sizeof *a);
    if (a == NULL)
        return DIRTY_EMEMORY;
    memset(a, 0, sizeof *a);
    a->owner = getpid();
    a->epoll_fd = a->timer_fd = -1;
    if (options == NULL) {
        dirty_async_options_init(&defaults);
        options = &defaults;
    }
    int rc = configure(a, options);
    if (rc == 0)
        rc = open_descriptors(a);
    a->base.broken = rc < 0;
    return rc;
}

int dirty_async_err(const dirty_async *a) {
    return a == NULL ? DIRTY_EMEMORY : dirty_err(&a->base);
}

const char *dirty_async_errmsg(const dirty_async *a) {
    return dirty_errmsg(a == NULL ? NULL : &a->base);
}

int dirty_async_fd(const dirty_async *a) {
    return a == NULL ? -1 : a->epoll_fd;
}

void dirty_async_free(dirty_async *a) {
    if (a == NULL || a->freeing)
        return;
    a->freeing = true;
    a->depth++;
    while (a->calls != NULL && !is_ours(a))
        forget(a, a->calls);
    while (a->calls != NULL)
        fail(a, a->calls, DIRTY_ECANCELLED, "was cancelled: its client was freed");
    leave(a);
}
