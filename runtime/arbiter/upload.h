/* upload: the bytes of a long request whose sender is slow.
 *
 * A lane receives long requests itself, but does not wait for a sender that has nothing
 * to send: it writes what has come to an anonymous file and gives the request back with
 * it. From then on the arbiter receives the rest, a bounded piece per turn of its loop,
 * and hands request and file to a lane when all of it is here. So a slow sender costs one
 * descriptor and the bytes that it has sent, and never a lane.
 *
 * The file comes from a worker, whose app may still have it open and change it. It is
 * read and written by pread and pwrite alone, never mapped, and only if it is memory: so
 * no call on it can wait, and a file that was cut short is a short read. */
#ifndef DIRTY_ARBITER_UPLOAD_H
#define DIRTY_ARBITER_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arbiter/internal.h"

typedef struct upload {
    bool open;
    int fd;     /* owned while open */
    size_t len; /* bytes of the request in it, from its beginning; counted in
                   arbiter.upload_bytes */
} upload;

typedef enum upload_result {
    UPLOAD_MORE,   /* nothing more for now */
    UPLOAD_WHOLE,  /* all of it is here */
    UPLOAD_END,    /* the sender has ended its side before that */
    UPLOAD_FULL,   /* all uploads together hold as much as they may, or no memory */
    UPLOAD_BROKEN, /* the connection or the file failed */
} upload_result;

/* Bytes that all uploads of the arbiter may hold together. */
#define UPLOAD_BYTES_MAX (256ull * 1024 * 1024)

/* Take over `fd` with its first `len` bytes. UPLOAD_MORE; or, with fd closed:
 * UPLOAD_FULL, or UPLOAD_BROKEN: it is no file that is safe to use. */
upload_result upload_open(arbiter *a, upload *u, int fd, size_t len);

/* Receive what `socket` has, at most up to `whole_len` bytes in all. */
upload_result upload_receive(arbiter *a, upload *u, int socket, size_t whole_len);

/* Close the file. Idempotent. */
void upload_close(arbiter *a, upload *u);

#endif
