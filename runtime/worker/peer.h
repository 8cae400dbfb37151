/* peer: reads and writes the client's connection in a lane. The lane shares the
 * descriptor with the arbiter, so nothing here changes its flags or options: every read
 * and write is non-blocking, and poll does the waiting. */
#ifndef DIRTY_WORKER_PEER_H
#define DIRTY_WORKER_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Read at most `len` bytes into `to`. `len` must not reach beyond the frame. Waits up to
 * wait_ms for the first byte (-1: without limit) and adds the time waited to *waited_ns.
 * Returns the number of bytes; -EAGAIN after wait_ms without a byte; -ENODATA if the peer
 * has shut down its sending side; or -errno. */
ssize_t dirty_peer_read(int fd, void *to, size_t len, int wait_ms, uint64_t *waited_ns);

/* Write all of `iov`, and change it on the way. timeout_ms (0: none) starts when the peer
 * first makes the lane wait. Returns 0; -ETIMEDOUT; -EPIPE; or -errno. After an error
 * some bytes may have been sent. */
int dirty_peer_write(int fd, struct iovec *iov, size_t count, uint32_t timeout_ms);

/* Whether the peer has closed the connection. A peer that has only shut down its sending
 * side is still there. */
bool dirty_peer_is_gone(int fd);

#endif
