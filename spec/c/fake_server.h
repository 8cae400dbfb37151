/* fake_server: a server that says what a test wants it to, right or wrong.
 *
 * It listens on a socket in a temporary directory of its own and hands every connection,
 * one after the other, to the test's function, in a thread of its own. The socket is
 * there when fake_start returns. Its waits end after FAKE_PATIENCE_MS. */
#ifndef DIRTY_FAKE_SERVER_H
#define DIRTY_FAKE_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/frame.h"
#include "wire/request.h"

#define FAKE_PATIENCE_MS 10000

typedef struct fake fake;

/* Serve one connection, the `number`th (1 is the first); the descriptor is closed after
 * it returned. */
typedef void (*fake_serve)(fake *f, int fd, int number);

struct fake {
    char dir[64];
    char path[96];
    int listener;
    int stop_pipe[2]; /* readable for the thread: stop */
    pthread_t thread;
    fake_serve serve;
    void *arg;              /* the test's own */
    atomic_int connections; /* accepted so far */
    atomic_int requests;    /* read whole so far */
    atomic_int ended;       /* connections closed again by the server so far */
    dirty_route route;      /* of the last request read; names lie in its payload */
    uint64_t id;            /* of it */
    uint8_t *payload;       /* of it */
    uint32_t payload_len;
};

/* Listen, with a thread that serves; serve NULL: nobody ever accepts. */
void fake_start(fake *f, int backlog, fake_serve serve, void *arg);

/* End the thread, close and remove everything. */
void fake_stop(fake *f);

/* Read a whole request; false: the client left first. */
bool fake_read_request(fake *f, int fd);

/* Read `len` bytes and forget them; false: the client left first. */
bool fake_discard(int fd, size_t len);

/* Wait until there is something to read, or the client left. */
void fake_await_input(int fd);

/* Wait until the client left, forgetting what it says. */
void fake_await_end(int fd);

/* Wait until the client left, reading nothing. */
void fake_await_hangup(int fd);

/* Wait until the server has closed its `number`th connection. */
void fake_await_closed(fake *f, int number);

/* Send bytes; a client that left is none of our concern. */
void fake_send(int fd, const void *data, size_t len);

/* Send a frame with this payload, as the answer to the last request. */
void fake_send_frame(fake *f, int fd, dirty_frame_type type, const void *data,
                     size_t len);

/* Send the arguments of the last request back, the metadata first if there is one;
 * `times` over, in one go. */
void fake_echo_times(fake *f, int fd, int times);
void fake_echo(fake *f, int fd);

/* Send an ERROR in answer to the last request. */
void fake_send_error(fake *f, int fd, uint16_t code, const char *message,
                     const char *details);

/* Descriptors of this process that a program gets which it starts. The server's own are
 * not among them. */
int fake_count_passed_on(void);

#endif
