#include "worker/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/log.h"

void dirty_channel_close(dirty_channel *channel) {
    if (channel->peer_fd >= 0)
        close(channel->peer_fd);
    if (channel->file >= 0)
        close(channel->file);
    channel->peer_fd = channel->file = -1;
}

/* Move a received descriptor above 2. An app may have closed descriptor 0, 1 or 2, and
 * the kernel gives a received descriptor the lowest free number: what apps print would
 * then go to a client. Opens /dev/null in the free numbers. Returns the new number, or
 * -1. */
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
    dirty_log_msg(DIRTY_LOG_WARN,
                  "an app closed stdin, stdout or stderr: replacing it by /dev/null");
    return moved;
}

static int message_fault(const dirty_channel *channel) {
    const dirty_msg_dispatch *d = &channel->message.dispatch;
    const dirty_msg_plain *plain = &channel->message.plain;
    if (channel->len >= sizeof *plain &&
        (plain->kind == DIRTY_MSG_STOP || plain->kind == DIRTY_MSG_RESUME))
        return 0;
    if (channel->len == sizeof channel->message.connection &&
        plain->kind == DIRTY_MSG_COPY)
        return 0;
    if (channel->len < sizeof *d || d->kind != DIRTY_MSG_DISPATCH)
        return -EBADMSG;
    return d->have_len == channel->len - sizeof *d && d->have_len <= d->frame_len
               ? 0
               : -EBADMSG;
}

int dirty_channel_receive(dirty_channel *channel) {
    dirty_fdpass_room room;
    int fds[DIRTY_FDPASS_MAX];
    struct iovec piece = {&channel->message, sizeof channel->message};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};
    dirty_fdpass_expect(&m, &room);
    ssize_t n;
    do {
        n = recvmsg(channel->fd, &m, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n == 0 || errno == ECONNRESET ? -EPIPE : -errno;
    channel->len = (size_t)n;
    dirty_fdpass_take(&m, fds);
    channel->peer_fd = above_stdio(fds[0]);
    channel->file = above_stdio(fds[1]);
    int rc = message_fault(channel);
    if (rc < 0)
        dirty_channel_close(channel);
    return rc;
}

/* Most messages have no bytes, and send costs less than sendmsg. */
static ssize_t send_once(int fd, const void *head, size_t head_len, const void *bytes,
                         size_t len) {
    if (len == 0)
        return send(fd, head, head_len, MSG_NOSIGNAL);
    struct iovec pieces[] = {{(void *)(uintptr_t)head, head_len},
                             {(void *)(uintptr_t)bytes, len}};
    struct msghdr m = {.msg_iov = pieces, .msg_iovlen = 2};
    return sendmsg(fd, &m, MSG_NOSIGNAL);
}

int dirty_channel_send(const dirty_channel *channel, const void *head, size_t head_len,
                       const void *bytes, size_t len) {
    for (;;) {
        if (send_once(channel->fd, head, head_len, bytes, len) >= 0)
            return 0;
        if (errno != EINTR)
            return errno == ECONNRESET ? -EPIPE : -errno;
    }
}

int dirty_channel_send_file(const dirty_channel *channel, const dirty_msg_stalled *m,
                            int file) {
    dirty_fdpass_room room;
    struct iovec piece = {(void *)(uintptr_t)m, sizeof *m};
    struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1};
    dirty_fdpass_attach(&msg, &room, &file, 1);
    for (;;) {
        if (sendmsg(channel->fd, &msg, MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno != EINTR)
            return errno == ECONNRESET ? -EPIPE : -errno;
    }
}
