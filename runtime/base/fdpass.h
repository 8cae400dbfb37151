/* fdpass: descriptors that travel with a message of a unix socket (SCM_RIGHTS).
 *
 * The room is the caller's and must live as long as the msghdr is used. */
#ifndef DIRTY_FDPASS_H
#define DIRTY_FDPASS_H

#include <stddef.h>
#include <sys/socket.h>

#define DIRTY_FDPASS_MAX 2

typedef union dirty_fdpass_room {
    char bytes[CMSG_SPACE(DIRTY_FDPASS_MAX * sizeof(int))];
    struct cmsghdr align;
} dirty_fdpass_room;

/* Let `m` carry `count` descriptors (at most DIRTY_FDPASS_MAX), which are duplicated when
 * it is sent. */
void dirty_fdpass_attach(struct msghdr *m, dirty_fdpass_room *room, const int *fds,
                         size_t count);

/* Let `m` receive up to DIRTY_FDPASS_MAX descriptors. Receive with MSG_CMSG_CLOEXEC. */
void dirty_fdpass_expect(struct msghdr *m, dirty_fdpass_room *room);

/* The descriptors that came with a received `m`, which are the caller's now: their
 * number; the others of `fds` are -1. Where one of them did not come, as too many are
 * open here or more were sent, all are closed: 0. */
size_t dirty_fdpass_take(struct msghdr *m, int fds[DIRTY_FDPASS_MAX]);

/* Let nobody send descriptors to `socket`, nor to one that is accepted from it: what came
 * unasked would be closed by the receiver, which may wait as long as the sender likes
 * (SO_LINGER). Needs Linux 6.16; before that nothing happens. */
void dirty_fdpass_refuse(int socket);

#endif
