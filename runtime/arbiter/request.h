/* request: what a caller asked for, from its first byte to its answer.
 *
 * A connection has one, which is used again for the next: `conn`, `fd` and the peer stay,
 * all else is reset (request_reset). It waits in the queue of its app, or a lane has it;
 * never both. */
#ifndef DIRTY_ARBITER_REQUEST_H
#define DIRTY_ARBITER_REQUEST_H

#include "arbiter/internal.h"
#include "arbiter/upload.h"
#include "wire/request.h"

struct request {
    conn *conn; /* the connection that it came on */
    int fd;     /* … its descriptor */
    pid_t peer_pid;
    uid_t peer_uid;

    /* From here on request_reset clears all. */
    request *queue_prev, *queue_next; /* of its app's queue, while it waits */
    app *app;                         /* NULL: none that is served */
    lane *lane;                       /* that runs it, until the baton is taken from it */
    uint64_t id;                      /* 0 until the header is read */
    uint32_t frame_len;               /* whole request, 0: header not read */
    bool whole; /* all of it has left the socket by our own reading */
    uint8_t priority;
    uint64_t arrived_ns;
    uint64_t deadline_ns;      /* of the call, 0: none */
    uint64_t recv_left_ns;     /* to receive what we did not, 0: no limit */
    uint64_t recv_deadline_ns; /* until then it must be whole, 0: none; with a lane */
    uint64_t order;            /* of arrival, over all requests */
    upload upload;             /* its bytes, if a lane gave it back; holds a descriptor */
    char action[DIRTY_NAME_MAX + 1];
};

/* Make it ready for the next request of its connection. */
static inline void request_reset(arbiter *a, request *r) {
    upload_close(a, &r->upload);
    memset((char *)r + offsetof(request, queue_prev), 0,
           offsetof(request, action) + 1 - offsetof(request, queue_prev));
}

#endif
