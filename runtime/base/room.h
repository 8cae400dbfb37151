/* room: how many bytes of a unix socket's output wait in the kernel until the peer reads
 * them. A sender sleeps when there is no more room, and every sleep costs a wake-up. */
#ifndef DIRTY_BASE_ROOM_H
#define DIRTY_BASE_ROOM_H

#define DIRTY_ROOM_BYTES (512 * 1024)

/* Give a socket that much room, if it has less. net.core.wmem_max bounds it; what the
 * system does not allow is left as it is. */
void dirty_room_widen(int fd);

#endif
