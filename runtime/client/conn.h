/* conn: one connection to a runtime's socket, and blocking I/O on it with a deadline.
 *
 * It moves bytes and knows nothing of calls. Every function that may wait takes
 * `until_ns`, on the runtime's clock, and returns -ETIMEDOUT after it. The descriptor is
 * non-blocking and close-on-exec. After a signal the wait continues, unless `give_up`
 * returns true: then the result is -ECANCELED. */
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
    pid_t owner; /* the process that connected; may be a parent of this one */
    /* Called when a signal came while we waited. True ends the wait. NULL: never end
     * it. */
    bool (*give_up)(void *ctx);
    void *give_up_ctx;
    unsigned born; /* counts the connections, because a new one may get the old fd */
    size_t in_at;  /* bytes of `in` that were consumed */
    size_t in_len; /* bytes of `in` that were received */
    uint8_t in[DIRTY_CONN_ROOM];
} dirty_conn;

void dirty_conn_init(dirty_conn *conn);

/* Connect; retry until then while the backlog is full. Returns 0 or -errno; -EAGAIN if
 * the backlog stayed full. `conn` must be closed before. */
int dirty_conn_open(dirty_conn *conn, const struct sockaddr_un *address,
                    uint64_t until_ns);
void dirty_conn_close(dirty_conn *conn);

static inline bool dirty_conn_is_open(const dirty_conn *conn) {
    return conn->fd >= 0;
}

/* Whether this process opened the connection. A forked process has a copy. The copy may
 * only be closed, which does not end the connection. */
bool dirty_conn_is_ours(const dirty_conn *conn);

/* Whether a request may be sent. False if the peer has closed the connection or sent
 * something unexpected. */
bool dirty_conn_is_idle(const dirty_conn *conn);

/* Send the rest of `out`. Returns 0 if all was sent, 1 if the peer sent something or left
 * before that, -errno of sendmsg, or -ETIMEDOUT. out->sent is the number of bytes
 * sent. */
int dirty_conn_send(dirty_conn *conn, dirty_outgoing *out, uint64_t until_ns);

/* Read the header of the next frame. Returns 0; -EPROTO with *fault set; -ENODATA at the
 * end of input; -errno of recv; or -ETIMEDOUT. */
int dirty_conn_read_header(dirty_conn *conn, uint32_t max_payload, uint64_t until_ns,
                           dirty_frame *frame, dirty_wire_fault *fault);

/* Number of bytes received of an incomplete header. */
size_t dirty_conn_pending(const dirty_conn *conn);

/* Read `len` bytes of payload. *have is the number of bytes received, also on failure.
 * Returns 0, -ENODATA, -errno or -ETIMEDOUT. */
int dirty_conn_read(dirty_conn *conn, uint8_t *data, size_t len, uint64_t until_ns,
                    size_t *have);

#endif
