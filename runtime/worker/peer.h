/* caller: the caller's connection in a lane's hand. The descriptor's flags and options
 * are shared with the arbiter, so nothing here changes them: every call is one that does
 * not wait, and waiting is done in poll. */
#ifndef DIRTY_WORKER_PEER_H
#define DIRTY_WORKER_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Read what is there into `to`, at most `len` bytes (never past a frame: the caller says
 * how much is left of it); wait up to wait_ms for the first of it, -1: for ever. Adds the
 * time spent waiting to *waited_ns. Returns the bytes read, -EAGAIN after wait_ms without
 * any, -ENODATA when the peer has ended its sending side, else -errno. */
ssize_t dirty_peer_read(int fd, void *to, size_t len, int wait_ms, uint64_t *waited_ns);

/* Write all of `iov`, which is used up on the way, within timeout_ms (0: none) from the
 * moment the peer first makes it wait. 0, -ETIMEDOUT, -EPIPE, else -errno; after an error
 * some of it may have been sent. */
int dirty_peer_write(int fd, struct iovec *iov, size_t count, uint32_t timeout_ms);

/* Whether the peer has closed the connection. A peer that only ended its sending side is
 * still there. */
bool dirty_peer_is_gone(int fd);

#endif
