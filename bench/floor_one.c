/* One process, one epoll: the least that any server could do. */
#include "bench/floor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/socket.h"
#include "wire/frame.h"

#define EVENTS_MAX 64
#define FIRST_READ 8192

typedef struct peer {
    int fd;
    bool wants_room; /* EPOLLOUT is asked for: an answer is on its way */
    uint8_t *in;     /* owned */
    size_t in_len, in_cap, frame_len;
    uint8_t head[FLOOR_ANSWER_HEAD];
    struct iovec out[2]; /* what is left to send, out[1] borrowed from `in` */
} peer;

static int epoll_fd;

static void watch(peer *p, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = p};
    if (epoll_ctl(epoll_fd, operation, p->fd, &event) < 0)
        bench_die("epoll_ctl: %s", strerror(errno));
}

static void accept_all(int listener) {
    int fd;
    while ((fd = bench_accept(listener)) >= 0) {
        peer *p = calloc(1, sizeof *p);
        if (!p || !(p->in = malloc(FIRST_READ)))
            bench_die("out of memory");
        p->fd = fd;
        p->in_cap = FIRST_READ;
        watch(p, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void end(peer *p) {
    close(p->fd);
    free(p->in);
    free(p);
}

/* Returns false when the peer is gone. */
static bool send_answer(peer *p) {
    while (p->out[0].iov_len + p->out[1].iov_len > 0) {
        ssize_t n = p->out[1].iov_len == 0
                        ? send(p->fd, p->out[0].iov_base, p->out[0].iov_len, MSG_NOSIGNAL)
                        : writev(p->fd, p->out, 2);
        if (n < 0 && errno == EAGAIN) {
            if (!p->wants_room)
                watch(p, EPOLL_CTL_MOD, EPOLLOUT);
            p->wants_room = true;
            return true;
        }
        if (n < 0)
            return false;
        for (int i = 0; i < 2; i++) {
            size_t step = (size_t)n < p->out[i].iov_len ? (size_t)n : p->out[i].iov_len;
            p->out[i].iov_base = (char *)p->out[i].iov_base + step;
            p->out[i].iov_len -= step;
            n -= (ssize_t)step;
        }
    }
    if (p->wants_room)
        watch(p, EPOLL_CTL_MOD, EPOLLIN);
    p->wants_room = false;
    return true;
}

static bool read_request(peer *p) {
    ssize_t n = recv(p->fd, p->in + p->in_len, p->in_cap - p->in_len, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    p->in_len += (size_t)n;
    if (p->in_len < DIRTY_FRAME_HEADER_LEN)
        return true;
    if (p->frame_len == 0)
        p->frame_len = floor_frame_len(p->in);
    if (p->in_cap < p->frame_len) {
        p->in_cap = p->frame_len;
        if (!(p->in = realloc(p->in, p->in_cap)))
            bench_die("out of memory");
    }
    if (p->in_len < p->frame_len)
        return true;
    floor_answer(p->in, p->frame_len, p->head, p->out);
    p->in_len = p->frame_len = 0;
    return send_answer(p);
}

void floor_one(int listener) {
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS_MAX] = {{.events = EPOLLIN, .data.ptr = NULL}};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, events) < 0)
        bench_die("epoll: %s", strerror(errno));
    while (!floor_stopped) {
        int count = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            peer *p = events[i].data.ptr;
            if (!p)
                accept_all(listener);
            else if (!(p->wants_room ? send_answer(p) : read_request(p)))
                end(p);
        }
    }
}
