/* fdpass: sends and receives descriptors with a message on a unix socket (SCM_RIGHTS).
 *
 * The caller provides the room. It must live as long as the msghdr is used. */
#ifndef DIRTY_FDPASS_H
#define DIRTY_FDPASS_H

#include <stddef.h>
#include <sys/socket.h>

#define DIRTY_FDPASS_MAX 2

typedef union dirty_fdpass_room {
    char bytes[CMSG_SPACE(DIRTY_FDPASS_MAX * sizeof(int))];
    struct cmsghdr align;
} dirty_fdpass_room;

/* Add `count` descriptors (at most DIRTY_FDPASS_MAX) to `m`. sendmsg duplicates them. */
void dirty_fdpass_attach(struct msghdr *m, dirty_fdpass_room *room, const int *fds,
                         size_t count);

/* Let `m` receive up to DIRTY_FDPASS_MAX descriptors. Pass MSG_CMSG_CLOEXEC to
 * recvmsg. */
void dirty_fdpass_expect(struct msghdr *m, dirty_fdpass_room *room);

/* Take the descriptors out of a received `m` and return their number. The caller owns
 * them. The other entries of `fds` are -1. If a descriptor was lost, because this process
 * has too many open or the peer sent too many, all of them are closed and the result is
 * 0. */
size_t dirty_fdpass_take(struct msghdr *m, int fds[DIRTY_FDPASS_MAX]);

/* Forbid peers to send descriptors to `socket` or to connections accepted from it. The
 * receiver would have to close unwanted ones, and with SO_LINGER the sender could make
 * that close block. Needs Linux 6.16; no-op on older kernels. */
void dirty_fdpass_refuse(int socket);

#endif
