#include "client/conn.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/room.h"

/* Maximum number of pieces for one sendmsg(2). */
#define SEND_PIECES 64
/* Pauses between tries while the backlog is full; each is twice the one before. */
#define BACKLOG_PAUSE_MS_FIRST 1
#define BACKLOG_PAUSE_MS_LAST 32

void dirty_conn_init(dirty_conn *conn) {
    conn->fd = -1;
    conn->owner = 0;
    conn->give_up = NULL;
    conn->give_up_ctx = NULL;
    conn->born = 0;
    conn->in_at = conn->in_len = 0;
}

void dirty_conn_close(dirty_conn *conn) {
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    conn->in_at = conn->in_len = 0;
}

/* Call this when a system call has returned EINTR. */
static bool gives_up(const dirty_conn *conn) {
    return conn->give_up != NULL && conn->give_up(conn->give_up_ctx);
}

/* -- Connecting --------------------------------------------------------------------- */

static int connect_patiently(const dirty_conn *conn, int fd,
                             const struct sockaddr_un *address, uint64_t until_ns) {
    for (int pause_ms = BACKLOG_PAUSE_MS_FIRST;;) {
        if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        int left_ms = dirty_ms_until(until_ns, dirty_now_ns());
        if (left_ms == 0)
            return -EAGAIN;
        if (poll(NULL, 0, pause_ms < left_ms ? pause_ms : left_ms) < 0 && gives_up(conn))
            return -ECANCELED;
        if (pause_ms < BACKLOG_PAUSE_MS_LAST)
            pause_ms *= 2;
    }
}

int dirty_conn_open(dirty_conn *conn, const struct sockaddr_un *address,
                    uint64_t until_ns) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int rc = connect_patiently(conn, fd, address, until_ns);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    dirty_room_widen(fd); /* for long requests */
    conn->fd = fd;
    conn->owner = getpid();
    conn->born++;
    conn->in_at = conn->in_len = 0;
    return 0;
}

bool dirty_conn_is_ours(const dirty_conn *conn) {
    return conn->owner == getpid();
}

bool dirty_conn_is_idle(const dirty_conn *conn) {
    char byte;
    if (conn->in_at < conn->in_len)
        return false;
    ssize_t n;
    do {
        n = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 && errno == EAGAIN;
}

/* -- Waiting ------------------------------------------------------------------------ */

/* Wait for `events`. Returns those that came, hang-ups included; -ETIMEDOUT; or -errno of
 * poll. */
static int wait_for(const dirty_conn *conn, short events, uint64_t until_ns) {
    struct pollfd p = {.fd = conn->fd, .events = events};
    for (;;) {
        int n = poll(&p, 1, dirty_ms_until(until_ns, dirty_now_ns()));
        if (n > 0)
            return p.revents;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
        if (gives_up(conn))
            return -ECANCELED;
    }
}

int dirty_conn_send(dirty_conn *conn, dirty_outgoing *out, uint64_t until_ns) {
    struct iovec pieces[SEND_PIECES];
    for (;;) {
        struct msghdr msg = {.msg_iov = pieces};
        msg.msg_iovlen = (size_t)dirty_outgoing_next(out, pieces, SEND_PIECES);
        if (msg.msg_iovlen == 0)
            return 0;
        ssize_t n = sendmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            dirty_outgoing_advance(out, (size_t)n);
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        /* A server may answer before it has the whole request (overloaded, deadline
         * passed). It then waits for us to read. So watch for input while we send. */
        int events = wait_for(conn, POLLIN | POLLOUT, until_ns);
        if (events < 0)
            return events;
        if (events & ~POLLOUT)
            return 1;
    }
}

/* Receive at least 1 byte. Returns their number, -ENODATA, -errno or -ETIMEDOUT. In the
 * middle of a message it tries first; else it waits first, because nothing can be there
 * yet. */
static ssize_t receive(dirty_conn *conn, void *data, size_t len, uint64_t until_ns,
                       bool try_first) {
    for (bool ready = try_first;; ready = false) {
        int events = ready ? POLLIN : wait_for(conn, POLLIN, until_ns);
        if (events < 0)
            return events;
        ssize_t n = recv(conn->fd, data, len, MSG_DONTWAIT);
        if (n > 0)
            return n;
        if (n == 0)
            return -ENODATA;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
    }
}

/* Make room for the rest of a header. What is left in the buffer is shorter than a
 * header. */
static void compact(dirty_conn *conn) {
    conn->in_len -= conn->in_at;
    memmove(conn->in, conn->in + conn->in_at, conn->in_len);
    conn->in_at = 0;
}

int dirty_conn_read_header(dirty_conn *conn, uint32_t max_payload, uint64_t until_ns,
                           dirty_frame *frame, dirty_wire_fault *fault) {
    for (;;) {
        *fault = dirty_frame_decode(conn->in + conn->in_at, conn->in_len - conn->in_at,
                                    max_payload, frame);
        if (*fault == DIRTY_WIRE_OK) {
            conn->in_at += DIRTY_FRAME_HEADER_LEN;
            return 0;
        }
        if (*fault != DIRTY_WIRE_MORE)
            return -EPROTO;
        compact(conn);
        ssize_t n = receive(conn, conn->in + conn->in_len, sizeof conn->in - conn->in_len,
                            until_ns, false);
        if (n < 0)
            return (int)n;
        conn->in_len += (size_t)n;
    }
}

size_t dirty_conn_pending(const dirty_conn *conn) {
    return conn->in_len - conn->in_at;
}

int dirty_conn_read(dirty_conn *conn, uint8_t *data, size_t len, uint64_t until_ns,
                    size_t *have) {
    size_t early = dirty_conn_pending(conn);
    if (early > len)
        early = len;
    memcpy(data, conn->in + conn->in_at, early);
    conn->in_at += early;
    if (conn->in_at == conn->in_len)
        conn->in_at = conn->in_len = 0;
    for (*have = early; *have < len;) {
        ssize_t n = receive(conn, data + *have, len - *have, until_ns, true);
        if (n < 0)
            return (int)n;
        *have += (size_t)n;
    }
    return 0;
}
