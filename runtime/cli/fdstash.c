#include "cli/fdstash.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"

static void close_ends(fdstash *p) {
    close(p->ends[0]);
    close(p->ends[1]);
}

void fdstash_put(fdstash *p, int fd) {
    char byte = 0;
    dirty_fdpass_room room;
    struct iovec part = {&byte, 1};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    p->fd = fd;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->ends) < 0)
        return;
    dirty_fdpass_attach(&m, &room, &fd, 1);
    if (sendmsg(p->ends[1], &m, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
        close_ends(p);
        return;
    }
    close(fd);
    p->fd = -1;
}

int fdstash_take(fdstash *p) {
    char byte;
    int fds[DIRTY_FDPASS_MAX];
    dirty_fdpass_room room;
    struct iovec part = {&byte, 1};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (p->fd >= 0)
        return p->fd;
    dirty_fdpass_expect(&m, &room);
    ssize_t n = recvmsg(p->ends[0], &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    int rc = n < 0 ? -errno : -EBADF;
    if (n == 1 && dirty_fdpass_take(&m, fds) == 1)
        rc = p->fd = fds[0];
    close_ends(p);
    return rc;
}
