/* internal: the struct dirty_client. See dirty.h.
 *
 * The user and each open stream hold one reference to its memory. The user's ends with
 * dirty_free, a stream's when it is closed. So a stream can check whether its client was
 * freed. */
#ifndef DIRTY_CLIENT_INTERNAL_H
#define DIRTY_CLIENT_INTERNAL_H

#include <sys/un.h>

#include "client/conn.h"
#include "client/failure.h"
#include "dirty.h"

/* How long to wait after the end of the budget. The server's own answer says more, so it
 * should arrive first. */
#define DIRTY_MARGIN_MS 2000

struct dirty_client {
    struct sockaddr_un address;
    bool private_dir; /* the socket's directory must belong to the caller */
    uint32_t timeout_ms;
    uint32_t max_message;
    bool broken;      /* the options were invalid: calls fail */
    uint64_t last_id; /* of the last request; ids start at 1 */
    dirty_conn conn;
    bool *stream_cut; /* of the open stream, dirty_close sets it; NULL: none is open */
    uint32_t refs;    /* 1 for the user, and 1 for each open stream */
    bool freed;       /* the user has freed it; only streams still refer to it */
    dirty_failure failure;
};

/* Drop one reference. */
void dirty_client_release(dirty_client *c);

/* Initialize a client with its options. Returns 0, or a code as dirty_open does with the
 * failure set. The caller must deinit the failure in both cases. */
int dirty_client_init(dirty_client *c, const dirty_options *options);

/* Call `give_up` when a signal comes while a call waits. True ends the call and its
 * connection; the failure's message is then not meant for people. NULL: signals do not
 * end calls. */
void dirty_client_on_signal(dirty_client *c, bool (*give_up)(void *ctx), void *ctx);

#endif
