#include "base/room.h"

#include <sys/socket.h>

void dirty_room_widen(int fd) {
    int bytes = 0, half = DIRTY_ROOM_BYTES / 2; /* the kernel doubles what is set */
    socklen_t len = sizeof bytes;
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &len) == 0 &&
        bytes < DIRTY_ROOM_BYTES)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof half);
}
