#include "worker/inbox.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The one descriptor that came with the message, -1 if none did, or more than one. */
static int take_descriptor(struct msghdr *m) {
    int fd = -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len >= CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    if (fd >= 0 && m->msg_flags & MSG_CTRUNC) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int message_fault(const dirty_inbox *in) {
    const dirty_msg_dispatch *d = &in->message.dispatch;
    if (in->len >= sizeof in->message.plain && in->message.plain.kind == DIRTY_MSG_STOP)
        return 0;
    if (in->len < sizeof *d || d->kind != DIRTY_MSG_DISPATCH)
        return -EBADMSG;
    return d->have_len == in->len - sizeof *d && d->have_len <= d->frame_len ? 0
                                                                             : -EBADMSG;
}

int dirty_inbox_receive(dirty_inbox *in) {
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = {&in->message, sizeof in->message};
    struct msghdr m = {.msg_iov = &piece,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       /* not CMSG_SPACE, which has room for two */
                       .msg_controllen = CMSG_LEN(sizeof(int))};
    ssize_t n;
    do {
        n = recvmsg(in->channel, &m, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n == 0 || errno == ECONNRESET ? -EPIPE : -errno;
    in->len = (size_t)n;
    in->descriptor = take_descriptor(&m);
    int rc = message_fault(in);
    if (rc < 0 && in->descriptor >= 0)
        close(in->descriptor);
    return rc;
}

int dirty_inbox_send(const dirty_inbox *in, const void *head, size_t head_len,
                     const void *bytes, size_t len) {
    struct iovec pieces[] = {{(void *)(uintptr_t)head, head_len},
                             {(void *)(uintptr_t)bytes, len}};
    struct msghdr m = {.msg_iov = pieces, .msg_iovlen = 2};
    for (;;) {
        /* the usual message has no bytes, and send is the cheaper call */
        ssize_t n = len == 0 ? send(in->channel, head, head_len, MSG_NOSIGNAL)
                             : sendmsg(in->channel, &m, MSG_NOSIGNAL);
        if (n >= 0)
            return 0;
        if (errno != EINTR)
            return errno == ECONNRESET ? -EPIPE : -errno;
    }
}
