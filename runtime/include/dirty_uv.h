/* dirty_uv.h: libdirty's event-driven client on a libuv loop.
 *
 *     static dirty_uv u;
 *     dirty_uv_open(&u, loop, NULL);
 *     dirty_async_call(u.async, request, on_result, arg, NULL);
 *     …
 *     dirty_uv_close(&u, NULL);
 *
 * The adapter owns the client: dirty_uv_close ends both. Make all calls on the loop's
 * thread. Header only; link with libuv and libdirty. */
#ifndef DIRTY_UV_H
#define DIRTY_UV_H

#include <dirty.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dirty_uv {
    dirty_async *async; /* owned; NULL after dirty_uv_close */
    uv_poll_t poll;
    int in_loop; /* poll is registered with the loop until it is closed */
    void (*closed)(struct dirty_uv *u);
    void *data; /* for the user */
} dirty_uv;

static inline void dirty_uv_private_on_poll(uv_poll_t *poll, int status, int events) {
    dirty_uv *u = (dirty_uv *)poll->data;
    (void)status;
    (void)events;
    if (u->async != NULL)
        dirty_async_ready(u->async);
}

static inline void dirty_uv_private_on_closed(uv_handle_t *handle) {
    dirty_uv *u = (dirty_uv *)handle->data;
    if (u->closed != NULL)
        u->closed(u);
}

/* Create a client with these options (NULL: all defaults) and watch it in the loop.
 * Returns 0, a code of dirty_async_open, or an error of libuv (a negative errno), which
 * dirty_async_errmsg does not know. *u must stay at its address until it is closed. Call
 * dirty_uv_close after a failure too; before that dirty_async_errmsg(u->async) returns
 * the message. */
static inline int dirty_uv_open(dirty_uv *u, uv_loop_t *loop,
                                const dirty_async_options *options) {
    int rc = dirty_async_open(&u->async, options);
    u->closed = NULL;
    u->in_loop = 0;
    if (rc < 0)
        return rc;
    u->poll.data = u;
    rc = uv_poll_init(loop, &u->poll, dirty_async_fd(u->async));
    if (rc < 0)
        return rc;
    u->in_loop = 1;
    return uv_poll_start(&u->poll, UV_READABLE, dirty_uv_private_on_poll);
}

/* End all calls (their callbacks come with DIRTY_ECANCELLED) and free the client.
 * `closed` (may be NULL) is called when the loop no longer uses *u: at once, if it was
 * never registered. Allowed inside a callback. */
static inline void dirty_uv_close(dirty_uv *u, void (*closed)(dirty_uv *u)) {
    dirty_async *async = u->async;
    if (async == NULL)
        return;
    u->async = NULL;
    u->closed = closed;
    if (u->in_loop)
        uv_close((uv_handle_t *)&u->poll, dirty_uv_private_on_closed);
    dirty_async_free(async);
    if (!u->in_loop && closed != NULL)
        closed(u);
}

#ifdef __cplusplus
}
#endif

#endif
