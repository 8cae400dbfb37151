/* upload: the bytes of a long request whose sender is slow.
 *
 * A lane receives long requests itself but does not wait for a sender that has nothing
 * to send. It writes the received bytes to an anonymous file and returns the request
 * with this file. The arbiter then receives the rest, a bounded piece per turn of its
 * loop. It hands request and file to a lane when the request is whole. So a slow sender
 * costs one descriptor and the bytes that it has sent, but no lane.
 *
 * The file comes from a worker, whose app may still have it open and change it. The
 * arbiter uses only pread and pwrite, never mmap, and accepts only files in memory. So
 * no call can block, and a truncated file gives a short read. */
#ifndef DIRTY_ARBITER_UPLOAD_H
#define DIRTY_ARBITER_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arbiter/internal.h"

typedef struct upload {
    bool open;
    int fd;     /* owned while open */
    size_t len; /* bytes of the request in the file, from its start; counted in
                   arbiter.upload_bytes */
} upload;

typedef enum upload_result {
    UPLOAD_MORE,   /* no more bytes for now */
    UPLOAD_WHOLE,  /* the request is whole */
    UPLOAD_END,    /* the sender shut down its side too early */
    UPLOAD_FULL,   /* the limit of all uploads is reached, or no memory */
    UPLOAD_BROKEN, /* the connection or the file failed */
} upload_result;

/* Limit of the bytes in all uploads together. */
#define UPLOAD_BYTES_MAX (256ull * 1024 * 1024)

/* Open an upload on `fd` with its first `len` bytes. Takes ownership of fd. Returns
 * UPLOAD_MORE. On failure closes fd and returns UPLOAD_FULL, or UPLOAD_BROKEN if the
 * file is not safe to use. */
upload_result upload_open(arbiter *a, upload *u, int fd, size_t len);

/* Receive what `socket` has, until the upload has `whole_len` bytes. */
upload_result upload_receive(arbiter *a, upload *u, int socket, size_t whole_len);

/* Close the file. Idempotent. */
void upload_close(arbiter *a, upload *u);

#endif
