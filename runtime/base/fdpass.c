#include "base/fdpass.h"

#include <string.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

void dirty_fdpass_attach(struct msghdr *m, dirty_fdpass_room *room, const int *fds,
                         size_t count) {
    memset(room, 0, sizeof *room);
    m->msg_control = room->bytes;
    m->msg_controllen = CMSG_SPACE(count * sizeof *fds);
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof *fds);
    for (size_t i = 0; i < count; i++)
        memcpy(CMSG_DATA(c) + i * sizeof *fds, fds + i, sizeof *fds);
}

void dirty_fdpass_expect(struct msghdr *m, dirty_fdpass_room *room) {
    m->msg_control = room->bytes;
    /* Not CMSG_SPACE: its padding would let the kernel store one descriptor more. */
    m->msg_controllen = CMSG_LEN(DIRTY_FDPASS_MAX * sizeof(int));
}

size_t dirty_fdpass_take(struct msghdr *m, int fds[DIRTY_FDPASS_MAX]) {
    size_t count = 0;
    for (size_t i = 0; i < DIRTY_FDPASS_MAX; i++)
        fds[i] = -1;
    struct cmsghdr *c = m->msg_controllen > 0 ? CMSG_FIRSTHDR(m) : NULL;
    if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len >= CMSG_LEN(0))
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof *fds;
    if (count > DIRTY_FDPASS_MAX)
        count = DIRTY_FDPASS_MAX;
    for (size_t i = 0; i < count; i++)
        memcpy(fds + i, CMSG_DATA(c) + i * sizeof *fds, sizeof *fds);
    if (!(m->msg_flags & MSG_CTRUNC))
        return count;
    for (size_t i = 0; i < count; i++) {
        close(fds[i]);
        fds[i] = -1;
    }
    return 0;
}

void dirty_fdpass_refuse(int socket) {
    const int none = 0;
    setsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &none, sizeof none);
}
