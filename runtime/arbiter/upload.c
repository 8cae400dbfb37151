#include "arbiter/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Limit of bytes per upload and turn of the loop: a fast upload must not delay
 * requests. */
#define TURN_BYTES_MAX (64u * 1024)

/* Is it a file in memory? Only those have seals. A call on a pipe, a device or a
 * network file could block. */
static bool is_memory(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fcntl(fd, F_GET_SEALS) >= 0;
}

upload_result upload_open(arbiter *a, upload *u, int fd, size_t len) {
    bool fits = a->upload_bytes + len <= UPLOAD_BYTES_MAX;
    if (!fits || !is_memory(fd)) {
        close(fd);
        return fits ? UPLOAD_BROKEN : UPLOAD_FULL;
    }
    *u = (upload){.open = true, .fd = fd, .len = len};
    a->upload_bytes += len;
    return UPLOAD_MORE;
}

static bool append(upload *u, const uint8_t *bytes, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(u->fd, bytes + done, len - done, (off_t)(u->len + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    u->len += len;
    return true;
}

upload_result upload_receive(arbiter *a, upload *u, int socket, size_t whole_len) {
    for (size_t taken = 0; u->len < whole_len && taken < TURN_BYTES_MAX;) {
        size_t room = sizeof a->scratch, left = whole_len - u->len;
        ssize_t n = recv(socket, a->scratch, left < room ? left : room, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? UPLOAD_MORE : UPLOAD_BROKEN;
        if (n == 0)
            return UPLOAD_END;
        if (a->upload_bytes + (size_t)n > UPLOAD_BYTES_MAX)
            return UPLOAD_FULL;
        if (!append(u, a->scratch, (size_t)n))
            return errno == ENOSPC || errno == ENOMEM ? UPLOAD_FULL : UPLOAD_BROKEN;
        a->upload_bytes += (size_t)n;
        taken += (size_t)n;
    }
    return u->len == whole_len ? UPLOAD_WHOLE : UPLOAD_MORE;
}

void upload_close(arbiter *a, upload *u) {
    if (!u->open)
        return;
    a->upload_bytes -= u->len;
    close(u->fd);
    u->open = false;
}
