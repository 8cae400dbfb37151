#include "base/report.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fdpass.h"

int dirty_report_send_with(int fd, dirty_report *r, const int *passed, size_t count) {
    dirty_fdpass_room room;
    r->pid = getpid();
    struct iovec part = {r, offsetof(dirty_report, text) +
                                strnlen(r->text, sizeof r->text - 1)};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0)
        dirty_fdpass_attach(&m, &room, passed, count);
    return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int dirty_report_send(int fd, dirty_report *r) {
    return dirty_report_send_with(fd, r, NULL, 0);
}

/* Receive one message; `m` may have room for descriptors. Returns as dirty_report_take
 * does. */
static int receive(int fd, dirty_report *out, struct msghdr *m) {
    struct iovec part = {out, sizeof *out - 1};
    ssize_t n;
    m->msg_iov = &part;
    m->msg_iovlen = 1;
    do
        n = recvmsg(fd, m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    m->msg_iov = NULL;
    if (n < 0) {
        m->msg_controllen = 0;
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    }
    ((char *)out)[n] = '\0';
    return n < (ssize_t)offsetof(dirty_report, text) ? -1 : 1;
}

static_assert(DIRTY_REPORT_PASSED == DIRTY_FDPASS_MAX, "one is filled by the other");

int dirty_report_take_with(int fd, dirty_report *out, int passed[DIRTY_REPORT_PASSED]) {
    dirty_fdpass_room room;
    struct msghdr m = {0};
    dirty_fdpass_expect(&m, &room);
    int rc = receive(fd, out, &m);
    dirty_fdpass_take(&m, passed);
    for (int i = 0; rc < 0 && i < DIRTY_REPORT_PASSED; i++)
        if (passed[i] >= 0) {
            close(passed[i]);
            passed[i] = -1;
        }
    return rc;
}

/* There is no room for descriptors, so the kernel closes those that come. */
int dirty_report_take(int fd, dirty_report *out) {
    struct msghdr m = {0};
    return receive(fd, out, &m);
}
