#include "worker/peer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"

static int wait_for(int fd, short events, int wait_ms) {
    struct pollfd p = {.fd = fd, .events = events};
    int n = poll(&p, 1, wait_ms);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n == 0 ? -EAGAIN : 0;
}

ssize_t dirty_peer_read(int fd, void *to, size_t len, int wait_ms, uint64_t *waited_ns) {
    for (;;) {
        ssize_t n = recv(fd, to, len, MSG_DONTWAIT);
        if (n > 0)
            return n;
        if (n == 0)
            return -ENODATA;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        uint64_t from_ns = dirty_now_ns();
        int rc = wait_for(fd, POLLIN, wait_ms);
        *waited_ns += dirty_now_ns() - from_ns;
        if (rc < 0)
            return rc;
    }
}

/* Skip `sent` bytes of the pieces. Returns how many pieces are done. */
static size_t advance(struct iovec *iov, size_t count, size_t sent) {
    size_t done = 0;
    while (done < count && sent >= iov[done].iov_len)
        sent -= iov[done++].iov_len;
    if (done < count) {
        iov[done].iov_base = (char *)iov[done].iov_base + sent;
        iov[done].iov_len -= sent;
    }
    return done;
}

int dirty_peer_write(int fd, struct iovec *iov, size_t count, uint32_t timeout_ms) {
    uint64_t deadline_ns = 0;
    for (;;) {
        size_t batch = count < IOV_MAX ? count : IOV_MAX;
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = batch};
        ssize_t n = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            size_t done = advance(iov, count, (size_t)n);
            iov += done;
            count -= done;
            if (count == 0)
                return 0;
            if (done == batch)
                continue;
        } else if (errno == EINTR) {
            continue;
        } else if (errno != EAGAIN) {
            return -errno;
        }
        uint64_t now = dirty_now_ns();
        if (deadline_ns == 0 && timeout_ms > 0)
            deadline_ns = now + timeout_ms * DIRTY_NS_PER_MS;
        int left_ms = dirty_ms_until(deadline_ns, now);
        if (left_ms == 0)
            return -ETIMEDOUT;
        int rc = wait_for(fd, POLLOUT, left_ms);
        if (rc < 0 && rc != -EAGAIN)
            return rc;
    }
}

bool dirty_peer_is_gone(int fd) {
    struct pollfd p = {.fd = fd};
    return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR);
}
