#include "arbiter/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arbiter/plan.h"
#include "arbiter/ready_lanes.h"
#include "arbiter/reply.h"
#include "arbiter/conn.h"
#include "base/clock.h"
#include "base/endpoint.h"
#include "base/log.h"
#include "base/ratelimit.h"

/* Limit of connections accepted per wake-up: a flood of them must not delay
 * requests. */
#define ACCEPT_MAX 32
/* Pause between attempts to accept while no descriptors are free. */
#define REST_MS 100
/* Log shortages at most once in this time: with many callers they come and go with each
 * one. */
#define QUIET_MS 5000
/* Connections beyond the limit, for users who can end what fills it. */
#define RESERVE_MAX 64
/* Part of the reserve for connections that get the error that there is no room. */
#define REFUSED_MIN 2
/* How many idle connections are checked to find one without input. */
#define EVICT_TRIES 32

/* Descriptors of neither connections nor workers: event loop, log, probe. */
#define OWN_DESCRIPTORS 32

struct listener {
    arbiter *a;
    uv_poll_t poll;
    uv_timer_t timer; /* ends a pause */
    int open_handles;
    int fd;
    dirty_endpoint own;         /* fd is -1 if the supervisor has the socket */
    bool resting;               /* no descriptors are free: the listener is not polled */
    dirty_ratelimit rest_limit; /* limits log lines about pauses */
    dirty_ratelimit room_limit; /* limits log lines about evicted connections */
    uid_t owner;
};

uid_t listener_owner(const arbiter *a) {
    return a->listener != NULL ? a->listener->owner : (uid_t)-1;
}

void listener_set_owner(arbiter *a, uid_t owner) {
    if (a->listener != NULL)
        a->listener->owner = owner;
}

int listener_file(const arbiter *a) {
    return a->listener != NULL ? a->listener->own.file_fd : -1;
}

int listener_set_backlog(const arbiter *a, uint32_t backlog) {
    return a->listener != NULL ? listen(a->listener->fd, (int)backlog) : 0;
}

/* -- Accepting ------------------------------------------------------------------- */

static void on_connection(uv_poll_t *handle, int status, int events);

static void on_rested(uv_timer_t *handle) {
    listener *l = handle->data;
    arbiter_mark(l->a, MARK_ROOM);
}

static void rest(listener *l, int err) {
    if (dirty_ratelimit_pass(&l->rest_limit, QUIET_MS))
        dirty_log(DIRTY_LOG_WARN, "can't accept connections for now",
                  "reason=%s sessions=%u remedy=%s", DIRTY_LOG_QUOTE(strerror(err)),
                  l->a->conn_count, DIRTY_LOG_QUOTE(dirty_log_remedy(-err)));
    l->resting = true;
    uv_poll_stop(&l->poll);
    uv_timer_start(&l->timer, on_rested, REST_MS, 0);
}

void listener_step(arbiter *a) {
    listener *l = a->listener;
    if (l == NULL || !l->resting)
        return;
    l->resting = false;
    uv_timer_stop(&l->timer);
    uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

/* Returns how many descriptors connections may use. The rest must suffice for every
 * worker, for a replacement beside each worker, and for the lanes' ends of one starting
 * worker. Otherwise dead workers could not be replaced while all connections are in
 * use. */
static uint64_t descriptors_max(const arbiter *a) {
    uint64_t limit = a->descriptor_max;
    uint64_t per_worker = a->o->threads + 2;
    uint64_t kept = OWN_DESCRIPTORS + (2ull * a->plan->slot_count + 1) * per_worker;
    return limit > kept + limit / 4 ? limit - kept : limit / 4;
}

/* Returns how many of these are reserved for root, for the socket's owner, and for
 * connections that get the error that there is no room. */
static uint64_t reserve(const arbiter *a) {
    uint64_t share = descriptors_max(a) / 16;
    return share < 4 ? 4 : share > RESERVE_MAX ? RESERVE_MAX : share;
}

/* Returns how many connections all users together may have open. */
static uint64_t conns_max(const arbiter *a) {
    uint64_t all = descriptors_max(a), kept = reserve(a);
    return all > kept ? all - kept : 1;
}

/* Close a connection that no caller waits on, except `kept`. Returns false if there is
 * none. */
static bool make_room(arbiter *a, const conn *kept) {
    conn *c;
    int tries = 0;
    if (a->lingering != NULL) {
        conn_evict(a->lingering);
        return true;
    }
    for (c = a->idle_conns; c != NULL && tries < EVICT_TRIES; c = c->spare_next) {
        tries++;
        if (c == kept || conn_has_input(c))
            continue; /* its next request has come: not idle any more */
        a->counters.evicted++;
        conn_evict(c);
        return true;
    }
    return ready_lanes_evict(a);
}

static bool is_privileged(const arbiter *a, const conn *c) {
    return c->request.peer_uid == 0 || c->request.peer_uid == listener_owner(a);
}

static uint32_t open_connections(const arbiter *a) {
    return a->conn_count - a->closing_count;
}

/* Handle a new connection beyond the limit. The longest idle connection is closed for
 * it. If there is none, the new one gets an error. */
static void house(arbiter *a, conn *c) {
    uint64_t max = conns_max(a), evicted = a->counters.evicted;
    while (open_connections(a) > max && make_room(a, c))
        continue;
    if (a->counters.evicted > evicted &&
        dirty_ratelimit_pass(&a->listener->room_limit, QUIET_MS))
        dirty_log(DIRTY_LOG_WARN, "closing idle connections to make room",
                  "sessions=%u evicted=%llu remedy=%s", a->conn_count,
                  (unsigned long long)a->counters.evicted,
                  DIRTY_LOG_QUOTE(dirty_log_remedy(-EMFILE)));
    if (open_connections(a) <= max ||
        (is_privileged(a, c) && open_connections(a) + REFUSED_MIN <= descriptors_max(a)))
        return;
    reply_too_many_conns(c, max);
}

static void on_connection(uv_poll_t *handle, int status, int events) {
    listener *l = handle->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_MAX; i++) {
        if (l->a->conn_count >= descriptors_max(l->a)) {
            /* CLOSING connections free their descriptors at the end of this turn. */
            if (l->a->closing_count == 0 && !make_room(l->a, NULL))
                rest(l, EMFILE);
            return;
        }
        if (conn_prepare(l->a) < 0) {
            rest(l, ENOMEM);
            return;
        }
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 &&
            (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            rest(l, errno);
            return;
        }
        if (fd < 0)
            return; /* EAGAIN, or the connection is gone already */
        conn *c;
        int rc = conn_open(l->a, fd, &c);
        if (rc < 0) {
            rest(l, -rc);
            return;
        }
        house(l->a, c);
    }
}

/* -- Changing the socket --------------------------------------------------------- */

/* Limit of accept rounds on a socket that is given up. */
#define LAST_TURNS 256

static bool is_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

void listener_switch(arbiter *a, int fd) {
    listener *l = a->listener;
    if (l == NULL) {
        close(fd);
        return;
    }
    for (int i = 0; i < LAST_TURNS && !l->resting && is_readable(l->fd); i++)
        on_connection(&l->poll, 0, UV_READABLE);
    uv_poll_stop(&l->poll);
    if (dup3(fd, l->fd, O_CLOEXEC) < 0)
        dirty_log(DIRTY_LOG_ERROR, "the new socket can't be used", "reason=%s",
                  DIRTY_LOG_QUOTE(strerror(errno)));
    close(fd);
    if (!l->resting)
        uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

void listener_look(arbiter *a) {
    listener *l = a->listener;
    int former;
    if (l == NULL || l->own.fd < 0)
        return;
    if (dirty_endpoint_look(&l->own, &former)) {
        listener_switch(a, l->own.fd); /* the old socket keeps its number, l->fd */
        l->own.fd = former;
        listener_set_backlog(a, a->o->backlog);
        a->heard.socket_binds++;
    }
    snprintf(a->heard.socket, sizeof a->heard.socket, "%s", l->own.trouble);
}

/* -- Opening --------------------------------------------------------------------- */

/* Use the supervisor's socket, or open an own one. */
static int take_socket(listener *l) {
    const dirty_arbiter_options *o = l->a->boot;
    if (o->listen_fd > 0) {
        l->fd = o->listen_fd;
        return 0;
    }
    dirty_endpoint_options wanted = {.path = o->socket_path,
                                     .mode = o->socket_mode,
                                     .uid = o->socket_uid,
                                     .gid = o->socket_gid,
                                     .backlog = o->backlog};
    int rc = dirty_endpoint_open(&l->own, &wanted);
    l->fd = l->own.fd;
    return rc;
}

static void free_listener(listener *l) {
    if (l->own.fd >= 0)
        dirty_endpoint_close(&l->own);
    else if (l->fd >= 0)
        close(l->fd);
    free(l);
}

/* The file tells the owner, if the supervisor has made it or was given it. */
static uid_t find_owner(const dirty_arbiter_options *o) {
    struct stat st;
    if (o->socket_fd > 0 && fstat(o->socket_fd, &st) == 0)
        return st.st_uid;
    return o->socket_uid >= 0 ? (uid_t)o->socket_uid : geteuid();
}

int listener_open(arbiter *a) {
    listener *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    l->a = a;
    l->own.fd = l->own.file_fd = l->own.lock_fd = -1;
    l->owner = find_owner(a->boot);
    int rc = take_socket(l);
    if (rc == 0)
        rc = uv_poll_init(&a->loop, &l->poll, l->fd);
    if (rc < 0) {
        free_listener(l);
        return rc;
    }
    uv_timer_init(&a->loop, &l->timer);
    l->poll.data = l->timer.data = l;
    l->open_handles = 2;
    if (!a->boot->waits)
        uv_poll_start(&l->poll, UV_READABLE, on_connection);
    a->listener = l;
    return 0;
}

void listener_begin(arbiter *a) {
    listener *l = a->listener;
    if (l != NULL && !l->resting)
        uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

static void on_closed(uv_handle_t *handle) {
    listener *l = handle->data;
    if (--l->open_handles == 0)
        free_listener(l);
}

void listener_close(arbiter *a) {
    listener *l = a->listener;
    if (l == NULL)
        return;
    a->listener = NULL;
    dirty_endpoint_unlink(&l->own);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    uv_close((uv_handle_t *)&l->timer, on_closed);
}
