/* conn: one connection to a socket of the runtime, and waiting on it.
 *
 * It moves bytes and knows nothing of calls. Every function that waits takes `until_ns`,
 * on the runtime's clock, and returns -ETIMEDOUT when it has passed. The descriptor is
 * non-blocking and closed on exec. A signal interrupts the waiting for a moment only,
 * unless `give_up` wants otherwise: then it is -ECANCELED. */
#ifndef DIRTY_CONN_H
#define DIRTY_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "client/request.h"
#include "wire/frame.h"

/* Small replies come whole into this room with one recv(2). */
#define DIRTY_CONN_ROOM 4096

typedef struct dirty_conn {
    int fd;      /* -1: closed */
    pid_t owner; /* of fd: the process that connected, maybe not this one */
    /* A signal came while we waited: is the waiting to end? NULL: it never is. */
    bool (*give_up)(void *ctx);
    void *give_up_ctx;
    unsigned born; /* counts the connections: a new one may have the old one's fd */
    size_t in_at;  /* bytes of `in` that were taken */
    size_t in_len; /* bytes of `in` that are there */
    uint8_t in[DIRTY_CONN_ROOM];
} dirty_conn;

void dirty_conn_init(dirty_conn *conn);

/* Connect; a full backlog is retried until then. 0 or -errno: -EAGAIN if the backlog
 * stayed full. The connection must be closed. */
int dirty_conn_open(dirty_conn *conn, const struct sockaddr_un *address,
                    uint64_t until_ns);
void dirty_conn_close(dirty_conn *conn);

static inline bool dirty_conn_is_open(const dirty_conn *conn) {
    return conn->fd >= 0;
}

/* Did this process open it? In a forked one it is a copy: it may only be closed, which
 * does not end it. */
bool dirty_conn_is_ours(const dirty_conn *conn);

/* May a request be sent? False if the peer has ended the connection, or said something
 * that nobody asked for. */
bool dirty_conn_is_idle(const dirty_conn *conn);

/* Send what is left of `out`. 0: all of it; 1: the peer spoke or left before that;
 * -errno of sendmsg, -ETIMEDOUT. out->sent tells how far it came. */
int dirty_conn_send(dirty_conn *conn, dirty_outgoing *out, uint64_t until_ns);

/* Take the header of the next frame. 0; -EPROTO with *fault set; -ENODATA at the end of
 * input; -errno of recv, -ETIMEDOUT. */
int dirty_conn_read_header(dirty_conn *conn, uint32_t max_payload, uint64_t until_ns,
                           dirty_frame *frame, dirty_wire_fault *fault);

/* Bytes of an unfinished header that came. */
size_t dirty_conn_pending(const dirty_conn *conn);

/* Take `len` bytes of payload; *have tells how many came, also on failure. 0; -ENODATA,
 * -errno, -ETIMEDOUT. */
int dirty_conn_read(dirty_conn *conn, uint8_t *data, size_t len, uint64_t until_ns,
                    size_t *have);

#endif
