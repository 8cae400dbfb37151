#include "arbiter/hangup_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "arbiter/conn.h"

/* Hang-ups handled per turn of the loop; the next turn goes on. */
#define EVENTS_MAX 64

struct hangup_watch {
    int epoll; /* owned */
    uv_poll_t poll;
    void (*hung_up)(conn *c);
};

/* The memory of a connection is freed in a later turn than the one that closes it. So the
 * pointers in one batch are valid. */
static void on_hangups(uv_poll_t *handle, int status, int uv_events) {
    hangup_watch *w = handle->data;
    struct epoll_event events[EVENTS_MAX];
    (void)uv_events;
    int n = status < 0 ? 0 : epoll_wait(w->epoll, events, EVENTS_MAX, 0);
    for (int i = 0; i < n; i++) {
        conn *c = events[i].data.ptr;
        if (c->watched)
            w->hung_up(c);
    }
}

int hangup_watch_open(arbiter *a, void (*hung_up)(conn *c)) {
    hangup_watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    w->hung_up = hung_up;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    int rc = w->epoll < 0 ? -errno : uv_poll_init(&a->loop, &w->poll, w->epoll);
    if (rc < 0) {
        if (w->epoll >= 0)
            close(w->epoll);
        free(w);
        return rc;
    }
    w->poll.data = w;
    a->hangups = w;
    uv_poll_start(&w->poll, UV_READABLE, on_hangups);
    uv_unref((uv_handle_t *)&w->poll); /* connections keep the loop alive */
    return 0;
}

static void on_closed(uv_handle_t *handle) {
    hangup_watch *w = handle->data;
    close(w->epoll);
    free(w);
}

void hangup_watch_close(arbiter *a) {
    hangup_watch *w = a->hangups;
    a->hangups = NULL;
    if (w != NULL)
        uv_close((uv_handle_t *)&w->poll, on_closed);
}

void hangup_watch_add(conn *c) {
    struct epoll_event e = {.events = EPOLLET, .data.ptr = c};
    if (c->watched || c->a->hangups == NULL)
        return;
    c->watched = epoll_ctl(c->a->hangups->epoll, EPOLL_CTL_ADD, c->fd, &e) == 0;
}

void hangup_watch_remove(conn *c) {
    struct epoll_event unused = {0};
    if (c->watched && c->a->hangups != NULL)
        epoll_ctl(c->a->hangups->epoll, EPOLL_CTL_DEL, c->fd, &unused);
    c->watched = false;
}
