/* floor: how fast the three architectures can be, without Lua, limits, deadlines or care.
 *
 * All speak the frames of docs/protocol.md, so that one load generator measures them and
 * the runtime alike. A request without arguments is answered with nil, any other with
 * its own arguments; names are not looked at. Peers are trusted. */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* A request of the load generator may be that long, header and payload. */
#define FLOOR_FRAME_MAX (128u << 20)
#define FLOOR_ANSWER_HEAD 32

/* Set by SIGTERM and SIGINT: end in good order, so that profilers write their results. */
extern volatile bool floor_stopped;

/* One process that reads a request whole and answers it. Returns when stopped. */
void floor_one(int listener);

/* A dispatcher with a central queue, and workers it passes the client's descriptor to.
 * Returns when stopped. */
void floor_pass(int listener, unsigned workers);

/* A dispatcher that only accepts, and workers that take ready connections from the
 * kernel. Returns when stopped. */
void floor_ready(int listener, unsigned workers);

/* Length of the frame that starts with these 16 bytes. */
uint32_t floor_frame_len(const uint8_t *header);

/* The answer to a whole request: iov[0] is made in `head`, iov[1] is borrowed from the
 * request and may be empty. Returns the bytes of both. */
size_t floor_answer(const uint8_t *request, size_t len, uint8_t head[FLOOR_ANSWER_HEAD],
                    struct iovec iov[2]);

#endif
