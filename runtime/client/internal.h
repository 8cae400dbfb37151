/* client: what a dirty_client holds. dirty.h tells what it does.
 *
 * Its memory is shared: the user's until dirty_free, and that of each stream it made
 * until that is closed. So a stream can ask whether its client was freed. */
#ifndef DIRTY_CLIENT_INTERNAL_H
#define DIRTY_CLIENT_INTERNAL_H

#include <sys/un.h>

#include "client/conn.h"
#include "client/failure.h"
#include "dirty.h"

/* How long after the budget the client still waits: the server's own answer, which says
 * more, is to arrive first. */
#define DIRTY_MARGIN_MS 2000

struct dirty_client {
    struct sockaddr_un address;
    bool private_dir; /* the socket's directory must be the caller's own */
    uint32_t timeout_ms;
    uint32_t max_message;
    bool broken;      /* the options were refused: no call is made */
    uint64_t last_id; /* of the last request sent; ids start at 1 */
    dirty_conn conn;
    bool *stream_cut;     /* of the open stream, to be set by dirty_close; NULL: none is open */
    uint32_t refs;        /* 1 for the user, 1 for each stream that is not closed */
    bool freed;           /* by the user: only its streams know it now */
    dirty_failure failure;
};

/* One of those who share its memory is done with it. */
void dirty_client_release(dirty_client *c);

/* Set up a client with its options. 0, or as dirty_open, with the failure told: it wants
 * its failure ended in both cases. */
int dirty_client_init(dirty_client *c, const dirty_options *options);

/* Ask `give_up` when a signal comes while a call waits: true ends the call, and its
 * connection. What the failure then says is not meant for people. NULL: never ask,
 * signals do not end calls. */
void dirty_client_on_signal(dirty_client *c, bool (*give_up)(void *ctx), void *ctx);

#endif
