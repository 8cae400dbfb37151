#include "bench/socket.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096
#define CONNECT_TRIES 1000
#define CONNECT_PAUSE_MS 10
#define SEND_TIMEOUT_MS 30000
#define ANSWER_ROOM_BYTES (512 * 1024)

void bench_die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static struct sockaddr_un address_of(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        bench_die("socket path of %zu bytes, at most %zu: %s", strlen(path),
                  sizeof address.sun_path - 1, path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    return address;
}

static int new_socket(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        bench_die("socket: %s", strerror(errno));
    return fd;
}

int bench_listen(const char *path) {
    struct sockaddr_un address = address_of(path);
    int fd = new_socket();
    unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, BACKLOG) < 0)
        bench_die("listen on %s: %s", path, strerror(errno));
    return fd;
}

int bench_accept(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int half = ANSWER_ROOM_BYTES / 2; /* the kernel doubles it */
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof half);
    return fd;
}

int bench_connect(const char *path) {
    struct sockaddr_un address = address_of(path);
    int fd = new_socket();
    for (int i = 0; i < CONNECT_TRIES; i++) {
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
            return fd;
        if (errno != EAGAIN)
            break;
        poll(NULL, 0, CONNECT_PAUSE_MS);
    }
    bench_die("connect to %s: %s", path, strerror(errno));
}

int bench_send_all(int fd, const void *data, size_t len) {
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            at += n;
            len -= (size_t)n;
            continue;
        }
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (errno == EAGAIN && poll(&p, 1, SEND_TIMEOUT_MS) == 0)
            return -ETIMEDOUT;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
    }
    return 0;
}

uint64_t bench_number(const char *option, const char *text, uint64_t max) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || value > max)
        bench_die("%s wants a number from 0 to %llu, not \"%s\"", option,
                  (unsigned long long)max, text);
    return value;
}
