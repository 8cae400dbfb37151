#include "arbiter/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arbiter/plan.h"
#include "arbiter/session.h"
#include "base/clock.h"
#include "base/endpoint.h"
#include "base/log.h"

/* Connections accepted per wake-up, so that a flood of them does not starve requests. */
#define ACCEPT_MAX 32
/* How long accepting rests when there are no descriptors and none is freed. */
#define REST_MS 100
/* That is said once in this time: with many callers it comes and goes with each. */
#define QUIET_MS 5000

/* Descriptors that are neither of sessions nor of workers: the loop's, the log's, a
 * probe's. */
#define OWN_DESCRIPTORS 32

struct listener {
    arbiter *a;
    uv_poll_t poll;
    uv_timer_t timer; /* ends a rest */
    int open_handles;
    int fd;
    dirty_endpoint own; /* fd -1 where the supervisor has it */
    bool resting;       /* no descriptors: the listener is not polled */
    uint64_t quiet_until_ns;
    uid_t owner;
};

uid_t listener_owner(const arbiter *a) {
    return a->listener != NULL ? a->listener->owner : (uid_t)-1;
}

/* -- Accepting --------------------------------------------------------------------------
 */

static void on_connection(uv_poll_t *handle, int status, int events);

static void on_rested(uv_timer_t *handle) {
    listener *l = handle->data;
    listener_resume(l->a);
}

static void rest(listener *l, int err) {
    uint64_t now_ns = dirty_now_ns();
    if (now_ns >= l->quiet_until_ns) {
        dirty_log(DIRTY_LOG_WARN, "can't accept connections for now",
                  "reason=%s sessions=%u remedy=%s", DIRTY_LOG_QUOTE(strerror(err)),
                  l->a->session_count, DIRTY_LOG_QUOTE(dirty_log_remedy(-err)));
        l->quiet_until_ns = now_ns + QUIET_MS * DIRTY_NS_PER_MS;
    }
    l->resting = true;
    uv_poll_stop(&l->poll);
    uv_timer_start(&l->timer, on_rested, REST_MS, 0);
}

void listener_resume(arbiter *a) {
    listener *l = a->listener;
    if (l == NULL || !l->resting)
        return;
    l->resting = false;
    uv_timer_stop(&l->timer);
    uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

/* Connections that may be open at once: what they leave must do for every worker, for the
 * replacement of every worker beside it, and for the lanes' ends of one that is started.
 * Else a full house could not get its dead workers back. */
static uint64_t sessions_max(const arbiter *a) {
    uint64_t limit = a->descriptor_max;
    uint64_t per_worker = a->o->threads + 2;
    uint64_t kept = OWN_DESCRIPTORS + (2ull * a->plan->place_count + 1) * per_worker;
    return limit > kept + limit / 4 ? limit - kept : limit / 4;
}

static void on_connection(uv_poll_t *handle, int status, int events) {
    listener *l = handle->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_MAX; i++) {
        if (l->a->session_count >= sessions_max(l->a)) {
            rest(l, EMFILE);
            return;
        }
        if (session_prepare(l->a) < 0) {
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
            return; /* EAGAIN, or a connection that is gone again */
        int rc = session_open(l->a, fd);
        if (rc < 0) {
            rest(l, -rc);
            return;
        }
    }
}

/* -- Opening ----------------------------------------------------------------------------
 */

/* The supervisor's socket, or one of our own. */
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

int listener_open(arbiter *a) {
    listener *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    l->a = a;
    l->own.fd = l->own.lock_fd = -1;
    l->owner = a->boot->socket_uid >= 0 ? (uid_t)a->boot->socket_uid : geteuid();
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
    uv_poll_start(&l->poll, UV_READABLE, on_connection);
    a->listener = l;
    return 0;
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
