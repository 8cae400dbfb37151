#include "worker/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/log.h"

void dirty_channel_close(dirty_channel *in) {
    if (in->descriptor >= 0)
        close(in->descriptor);
    if (in->file >= 0)
        close(in->file);
    in->descriptor = in->file = -1;
}

/* An app may have closed descriptor 0, 1 or 2. What comes next would take its place, and
 * what apps print would go to a caller: move it up, and fill the hole. */
static int above_stdio(int fd) {
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    int null;
    do
        null = open("/dev/null", O_RDWR);
    while (null >= 0 && null <= STDERR_FILENO);
    if (null >= 0)
        close(null);
    dirty_log_msg(DIRTY_LOG_WARN, "an app has closed stdin, stdout or stderr: it is "
                                  "/dev/null from now on");
    return moved;
}

static int message_fault(const dirty_channel *in) {
    const dirty_msg_dispatch *d = &in->message.dispatch;
    if (in->len >= sizeof in->message.plain && in->message.plain.kind == DIRTY_MSG_STOP)
        return 0;
    if (in->len < sizeof *d || d->kind != DIRTY_MSG_DISPATCH)
        return -EBADMSG;
    return d->have_len == in->len - sizeof *d && d->have_len <= d->frame_len ? 0
                                                                             : -EBADMSG;
}

int dirty_channel_receive(dirty_channel *in) {
    dirty_fdpass_room room;
    int fds[DIRTY_FDPASS_MAX];
    struct iovec piece = {&in->message, sizeof in->message};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};
    dirty_fdpass_expect(&m, &room);
    ssize_t n;
    do {
        n = recvmsg(in->channel, &m, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n == 0 || errno == ECONNRESET ? -EPIPE : -errno;
    in->len = (size_t)n;
    dirty_fdpass_take(&m, fds);
    in->descriptor = above_stdio(fds[0]);
    in->file = above_stdio(fds[1]);
    int rc = message_fault(in);
    if (rc < 0)
        dirty_channel_close(in);
    return rc;
}

int dirty_channel_send(const dirty_channel *in, const void *head, size_t head_len,
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

int dirty_channel_send_file(const dirty_channel *in, const dirty_msg_stalled *m,
                            int file) {
    dirty_fdpass_room room;
    struct iovec piece = {(void *)(uintptr_t)m, sizeof *m};
    struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1};
    dirty_fdpass_attach(&msg, &room, &file, 1);
    for (;;) {
        if (sendmsg(in->channel, &msg, MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno != EINTR)
            return errno == ECONNRESET ? -EPIPE : -errno;
    }
}
