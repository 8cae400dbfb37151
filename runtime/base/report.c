#include "base/report.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int dirty_report_send(int fd, dirty_report *r) {
    r->pid = getpid();
    size_t len = offsetof(dirty_report, text) + strnlen(r->text, sizeof r->text - 1);
    return send(fd, r, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int dirty_report_take(int fd, dirty_report *out) {
    ssize_t n;
    do
        n = recv(fd, out, sizeof *out - 1, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n < (ssize_t)offsetof(dirty_report, text))
        return -1;
    ((char *)out)[n] = '\0';
    return 1;
}
