/* socket: what the bench programs share: unix stream sockets and a way to give up. */
#ifndef BENCH_SOCKET_H
#define BENCH_SOCKET_H

#include <stddef.h>
#include <stdint.h>

/* Print "NAME: message" to stderr and exit with status 1. The programs here have no
 * caller that could do better. */
void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A listening, non-blocking socket at `path`, which is replaced if it is there. */
int bench_listen(const char *path);

/* A waiting connection, non-blocking, with room for answers as the runtime gives it; -1
 * if there is none. */
int bench_accept(int listener);

/* A connected, non-blocking socket. A listener whose backlog is full is tried again for
 * up to ten seconds. */
int bench_connect(const char *path);

/* Send all bytes to a non-blocking socket, waiting for room. 0, or -errno. */
int bench_send_all(int fd, const void *data, size_t len);

/* A number of at most `max`, or an exit that names the option. */
uint64_t bench_number(const char *option, const char *text, uint64_t max);

#endif
