#include "client/internal.h"

#include <string.h>

#include "client/alloc.h"
#include "client/socket_path.h"

#define TIMEOUT_MS_DEFAULT 30000

void dirty_options_init(dirty_options *options) {
    *options = (dirty_options){.timeout_ms = TIMEOUT_MS_DEFAULT,
                               .max_message = DIRTY_MAX_MESSAGE_DEFAULT};
}

/* Copy the options. Returns 0, or DIRTY_EINVALID with the failure set. */
static int configure(dirty_client *c, const dirty_options *options) {
    c->timeout_ms = options->timeout_ms;
    c->max_message = options->max_message;
    if (options->timeout_ms == 0)
        return dirty_failure_set(&c->failure, DIRTY_EINVALID, "no",
                                 "timeout_ms is 0: must be at least 1");
    if (options->max_message == 0)
        return dirty_failure_set(&c->failure, DIRTY_EINVALID, "no",
                                 "max_message is 0: must be at least 1");
    /* Large enough that a path too long for a socket is detected and not cut. */
    char path[4096];
    const char *socket = options->socket;
    if (socket == NULL) {
        dirty_socket_path_default(path, sizeof path, &c->private_dir);
        socket = path;
    }
    return dirty_socket_path_set(&c->address, socket, &c->failure);
}

int dirty_client_init(dirty_client *c, const dirty_options *options) {
    memset(c, 0, sizeof *c);
    c->refs = 1;
    dirty_conn_init(&c->conn);
    dirty_failure_init(&c->failure);
    int rc = configure(c, options);
    c->broken = rc < 0;
    return rc;
}

int dirty_open(dirty_client **out, const dirty_options *options) {
    dirty_options defaults;
    dirty_client *c = *out = dirty_realloc(NULL, sizeof *c);
    if (c == NULL)
        return DIRTY_EMEMORY;
    if (options == NULL) {
        dirty_options_init(&defaults);
        options = &defaults;
    }
    return dirty_client_init(c, options);
}

void dirty_client_on_signal(dirty_client *c, bool (*give_up)(void *ctx), void *ctx) {
    c->conn.give_up = give_up;
    c->conn.give_up_ctx = ctx;
}

void dirty_close(dirty_client *c) {
    if (c == NULL)
        return;
    if (c->stream_cut != NULL)
        *c->stream_cut = true;
    c->stream_cut = NULL;
    dirty_conn_close(&c->conn);
}

void dirty_client_release(dirty_client *c) {
    if (--c->refs > 0)
        return;
    dirty_failure_deinit(&c->failure);
    dirty_dealloc(c);
}

void dirty_free(dirty_client *c) {
    if (c == NULL)
        return;
    dirty_close(c);
    c->freed = true;
    dirty_client_release(c);
}

const char *dirty_socket(const dirty_client *c) {
    return c == NULL ? "" : c->address.sun_path;
}

int dirty_err(const dirty_client *c) {
    return c == NULL ? DIRTY_EMEMORY : c->failure.code;
}

const char *dirty_errmsg(const dirty_client *c) {
    return c == NULL ? "out of memory" : c->failure.message.base;
}

size_t dirty_errmsg_len(const dirty_client *c) {
    return c == NULL ? strlen(dirty_errmsg(c)) : c->failure.message.len;
}

const char *dirty_err_details(const dirty_client *c) {
    return c == NULL ? "{}" : c->failure.details.base;
}

const char *dirty_err_started(const dirty_client *c) {
    return c == NULL ? "no" : c->failure.started;
}
