/* request: a caller's request, from its first byte to its answer.
 *
 * A connection has one and reuses it: `conn`, `fd` and the peer stay, the route sets
 * some fields anew, request_reset clears the rest. A request waits in its app's queue or
 * a lane has it, never both. */
#ifndef DIRTY_ARBITER_REQUEST_H
#define DIRTY_ARBITER_REQUEST_H

#include "arbiter/internal.h"
#include "arbiter/upload.h"
#include "wire/request.h"

struct request {
    conn *conn; /* the connection it came on */
    int fd;     /* the connection's descriptor; not owned */
    pid_t peer_pid;
    uid_t peer_uid;

    /* Set with the route, before it can wait or run. */
    uint64_t deadline_ns;      /* deadline of the call, 0: none */
    uint64_t recv_left_ns;     /* time a lane has to receive the rest, 0: no limit */
    uint64_t recv_deadline_ns; /* when a lane must have received it, 0: no limit */
    uint64_t order;            /* order of arrival among all requests */
    uint8_t priority;

    /* request_reset clears all fields from here on. */
    request *queue_prev, *queue_next; /* in its app's queue, while it waits */
    app *app;                         /* NULL: no served app */
    lane *lane;                       /* the lane that has it, until the baton is taken */
    uint64_t id;                      /* 0 until the header is read */
    uint32_t frame_len;               /* bytes of the whole request, 0: header not read */
    bool whole;                       /* the arbiter itself has read all of it */
    uint8_t action_len;
    uint64_t arrived_ns; /* 0 until its first bytes are read */
    upload upload;       /* its bytes if a lane returned it; owns a descriptor */
    char action[DIRTY_NAME_MAX + 1];
};

/* Reset it for the connection's next request. */
static inline void request_reset(arbiter *a, request *r) {
    upload_close(a, &r->upload);
    memset((char *)r + offsetof(request, queue_prev), 0,
           offsetof(request, action) + 1 - offsetof(request, queue_prev));
}

#endif
