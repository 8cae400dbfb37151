/* A dispatcher and workers, with the client's descriptor passed: what the runtime does,
 * in as few instructions and system calls as it can be done.
 *
 *   dispatcher: epoll_wait · recv (request) · sendmsg      epoll_wait · recv (done)
 *   worker:     recvmsg · send (answer) · close · send (done)
 *
 * Requests wait in one queue in the order they came. A client that asks again before its
 * worker has said done is read at once: it has its answer. */
#include "bench/floor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/channel.h"
#include "bench/socket.h"
#include "wire/frame.h"

#define EVENTS_MAX 64
#define WORKERS_MAX 64

typedef struct session {
    int fd;
    unsigned holders;      /* places that point here: the queue, workers */
    bool gone;             /* closed by the client, freed when nothing holds it */
    struct worker *reader; /* of the rest of a long request, unwatched meanwhile */
    uint32_t held_len, held_cap;
    uint8_t *held; /* owned; first bytes of a request that waits */
    struct session *next;
} session;

typedef struct worker {
    int channel;
    pid_t pid;
    session *serves;
} worker;

static int epoll_fd;
static uint64_t next_seq;
static worker workers[WORKERS_MAX];
static worker *idle[WORKERS_MAX]; /* the last to finish is the first to get work */
static unsigned worker_count, idle_count;
static session *queue_head, **queue_tail = &queue_head;

/* -- Worker ------------------------------------------------------------------- */

static void receive_rest(int fd, uint8_t *at, size_t len) {
    while (len > 0) {
        ssize_t n = recv(fd, at, len, MSG_DONTWAIT);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
            continue;
        }
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (n == 0 || (errno != EAGAIN && errno != EINTR) || poll(&p, 1, -1) < 0)
            bench_die("the load generator left in the middle of a request");
    }
}

/* A failed send is not told: the client has gone, and the dispatcher sees that too. */
static void answer(int fd, const uint8_t *request, size_t len) {
    uint8_t head[FLOOR_ANSWER_HEAD];
    struct iovec iov[2];
    size_t left = floor_answer(request, len, head, iov);
    if (iov[1].iov_len == 0) {
        bench_send_all(fd, iov[0].iov_base, left);
        return;
    }
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    size_t sent = n > 0 ? (size_t)n : 0;
    if (sent < iov[0].iov_len) {
        bench_send_all(fd, (char *)iov[0].iov_base + sent, iov[0].iov_len - sent);
        sent = iov[0].iov_len;
    }
    size_t body = sent - iov[0].iov_len;
    bench_send_all(fd, (char *)iov[1].iov_base + body, iov[1].iov_len - body);
}

/* The next request and its client's descriptor; false at the end of the channel. */
static bool receive(int channel, dirty_msg_dispatch *head, uint8_t *bytes, int *fd) {
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov[2] = {{head, sizeof *head}, {bytes, DIRTY_HEAD_BYTES_MAX}};
    struct msghdr message = {.msg_iov = iov,
                             .msg_iovlen = 2,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (n <= 0)
        return false;
    if (!rights)
        bench_die("a dispatch without a descriptor");
    memcpy(fd, CMSG_DATA(rights), sizeof *fd);
    return true;
}

static void grow(uint8_t **bytes, size_t *cap, size_t need) {
    if (*cap >= need)
        return;
    free(*bytes);
    *cap = need;
    if (!(*bytes = malloc(need)))
        bench_die("out of memory");
}

static void work(int channel) {
    static uint8_t first[DIRTY_HEAD_BYTES_MAX];
    size_t cap = 0;
    uint8_t *whole = NULL;
    dirty_msg_dispatch head = {0};
    int fd;
    while (receive(channel, &head, first, &fd)) {
        uint8_t *request = first;
        if (head.have_len < head.frame_len) {
            grow(&whole, &cap, head.frame_len);
            memcpy(whole, first, head.have_len);
            receive_rest(fd, whole + head.have_len, head.frame_len - head.have_len);
            request = whole;
        }
        answer(fd, request, head.frame_len);
        close(fd);
        dirty_msg_done done = {.kind = DIRTY_MSG_DONE, .seq = head.seq};
        if (send(channel, &done, sizeof done, MSG_NOSIGNAL) < 0)
            break;
    }
    free(whole);
}

static void start_worker(worker *w) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        bench_die("socketpair: %s", strerror(errno));
    w->pid = fork();
    if (w->pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (w->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        for (worker *other = workers; other < w; other++)
            close(other->channel);
        close(pair[0]);
        work(pair[1]);
        exit(0);
    }
    close(pair[1]);
    w->channel = pair[0];
}

/* -- Dispatcher --------------------------------------------------------------- */

static void watch(int operation, int fd, uint32_t events, void *data) {
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(epoll_fd, operation, fd, &event) < 0)
        bench_die("epoll_ctl: %s", strerror(errno));
}

static void release(session *s) {
    s->holders--;
    if (!s->gone || s->holders > 0)
        return;
    close(s->fd);
    free(s->held);
    free(s);
}

static void dispatch(worker *w, session *s, const uint8_t *bytes, uint32_t len) {
    dirty_msg_dispatch head = {.kind = DIRTY_MSG_DISPATCH,
                               .seq = ++next_seq,
                               .frame_len = floor_frame_len(bytes),
                               .have_len = len};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov[2] = {{&head, sizeof head}, {(void *)(uintptr_t)bytes, len}};
    struct msghdr message = {.msg_iov = iov,
                             .msg_iovlen = 2,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &s->fd, sizeof s->fd);
    if (len < head.frame_len)
        s->reader = w;
    w->serves = s;
    if (sendmsg(w->channel, &message, MSG_NOSIGNAL) < 0)
        bench_die("sendmsg to a worker: %s", strerror(errno));
}

static void enqueue(session *s, const uint8_t *bytes, uint32_t len) {
    if (s->held_cap < len && !(s->held = realloc(s->held, s->held_cap = len)))
        bench_die("out of memory");
    memcpy(s->held, bytes, len);
    s->held_len = len;
    s->next = NULL;
    *queue_tail = s;
    queue_tail = &s->next;
}

/* The load generator sends its first 16 bytes in one piece, so does a short request. */
static void on_client(session *s) {
    uint8_t bytes[DIRTY_HEAD_BYTES_MAX];
    ssize_t n = recv(s->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    s->holders++;
    if (n < DIRTY_FRAME_HEADER_LEN) {
        watch(EPOLL_CTL_DEL, s->fd, 0, NULL);
        s->gone = true;
        release(s);
        return;
    }
    if ((size_t)n < floor_frame_len(bytes))
        watch(EPOLL_CTL_MOD, s->fd, 0, s);
    if (idle_count > 0)
        dispatch(idle[--idle_count], s, bytes, (uint32_t)n);
    else
        enqueue(s, bytes, (uint32_t)n);
}

static void on_done(worker *w) {
    dirty_msg_done done;
    if (recv(w->channel, &done, sizeof done, 0) != sizeof done)
        bench_die("a worker ended");
    session *s = w->serves;
    if (s->reader == w) {
        s->reader = NULL;
        if (!s->gone)
            watch(EPOLL_CTL_MOD, s->fd, EPOLLIN, s);
    }
    release(s);
    session *next = queue_head;
    if (!next) {
        idle[idle_count++] = w;
        return;
    }
    queue_head = next->next;
    if (!queue_head)
        queue_tail = &queue_head;
    dispatch(w, next, next->held, next->held_len);
}

static void on_listener(int listener) {
    int fd;
    while ((fd = bench_accept(listener)) >= 0) {
        session *s = calloc(1, sizeof *s);
        if (!s)
            bench_die("out of memory");
        s->fd = fd;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, s);
    }
}

static void on_event(void *data, int listener) {
    worker *w = data;
    if (!data)
        on_listener(listener);
    else if (w >= workers && w < workers + worker_count)
        on_done(w);
    else
        on_client(data);
}

void floor_pass(int listener, unsigned count) {
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        bench_die("epoll: %s", strerror(errno));
    for (worker_count = 0; worker_count < count; worker_count++) {
        worker *w = &workers[worker_count];
        start_worker(w);
        watch(EPOLL_CTL_ADD, w->channel, EPOLLIN, w);
        idle[idle_count++] = w;
    }
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    struct epoll_event events[EVENTS_MAX];
    while (!floor_stopped) {
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++)
            on_event(events[i].data.ptr, listener);
    }
    for (unsigned i = 0; i < worker_count; i++) {
        close(workers[i].channel);
        waitpid(workers[i].pid, NULL, 0);
    }
}
