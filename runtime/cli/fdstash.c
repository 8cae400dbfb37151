#include "cli/fdstash.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A message of one byte and one descriptor. */
typedef struct parcel {
    struct msghdr head;
    struct iovec part;
    char byte;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
} parcel;

static void make_parcel(parcel *m) {
    memset(m, 0, sizeof *m);
    m->part = (struct iovec){&m->byte, 1};
    m->head.msg_iov = &m->part;
    m->head.msg_iovlen = 1;
    m->head.msg_control = m->control.bytes;
    m->head.msg_controllen = sizeof m->control.bytes;
}

static void close_ends(fdstash *p) {
    close(p->ends[0]);
    close(p->ends[1]);
}

void fdstash_put(fdstash *p, int fd) {
    parcel m;
    p->fd = fd;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->ends) < 0)
        return;
    make_parcel(&m);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m.head);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(p->ends[1], &m.head, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
        close_ends(p);
        return;
    }
    close(fd);
    p->fd = -1;
}

int fdstash_take(fdstash *p) {
    parcel m;
    if (p->fd >= 0)
        return p->fd;
    make_parcel(&m);
    ssize_t n = recvmsg(p->ends[0], &m.head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    int rc = n < 0 ? -errno : -EBADF;
    const struct cmsghdr *c = n == 1 ? CMSG_FIRSTHDR(&m.head) : NULL;
    if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof p->fd)) {
        memcpy(&p->fd, CMSG_DATA(c), sizeof p->fd);
        rc = p->fd;
    }
    close_ends(p);
    return rc;
}
