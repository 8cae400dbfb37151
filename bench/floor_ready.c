/* A dispatcher that only accepts, and workers that take ready connections straight from
 * the kernel: what the runtime's fast path does, in as few instructions and system calls
 * as it can be done.
 *
 *   worker: epoll_wait · recv (request) · send (answer)
 *
 * All workers sleep in one epoll with all connections, edge-triggered. A word for each
 * connection in shared memory says which worker has it; who gets an event for one that
 * another has marks the word, and the owner looks again. The dispatcher sends the
 * descriptor of a new connection to each worker before it puts it into the epoll.
 * Requests longer than the first read are received by the worker, which waits for them.
 */
#include "bench/floor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/socket.h"
#include "wire/frame.h"

#define SLOTS 16384u
#define WORKERS_MAX 64
#define FIRST_READ 8192
#define OWNER 0xffu
#define MORE 0x100u

static _Atomic uint32_t *owners; /* shared: a word for each connection */
static int ready_fd;             /* the epoll of all connections */
static int fds[SLOTS];           /* of this process */
static struct {
    int channel;
    pid_t pid;
} workers[WORKERS_MAX];

/* -- Worker ------------------------------------------------------------------- */

static bool take(uint32_t slot, uint32_t me) {
    uint32_t word = atomic_load(&owners[slot]);
    while (!atomic_compare_exchange_weak(&owners[slot], &word,
                                         word & OWNER ? word | MORE : me))
        continue;
    return (word & OWNER) == 0;
}

/* Returns false if an event came meanwhile: look again. */
static bool let_go(uint32_t slot) {
    uint32_t word = atomic_load(&owners[slot]);
    while (!atomic_compare_exchange_weak(&owners[slot], &word,
                                         word & MORE ? word & ~MORE : 0))
        continue;
    return (word & MORE) == 0;
}

static void learn_descriptors(int channel) {
    for (;;) {
        union {
            char bytes[CMSG_SPACE(sizeof(int))];
            struct cmsghdr align;
        } control;
        uint32_t slot;
        struct iovec part = {&slot, sizeof slot};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof control.bytes};
        ssize_t n = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n == 0)
            exit(0);
        if (n < 0)
            return;
        if (CMSG_FIRSTHDR(&message) == NULL)
            bench_die("a connection without a descriptor");
        memcpy(&fds[slot], CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fds[slot]);
    }
}

static bool receive_rest(int fd, uint8_t *at, size_t len) {
    while (len > 0) {
        ssize_t n = recv(fd, at, len, MSG_DONTWAIT);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (n == 0 || (n < 0 && (errno != EAGAIN || poll(&p, 1, -1) < 0)))
            return false;
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Returns false if the client has gone. */
static bool serve(int fd) {
    static uint8_t *request;
    static size_t room = FIRST_READ;
    uint8_t head[FLOOR_ANSWER_HEAD];
    struct iovec iov[2];
    if (request == NULL && !(request = malloc(room)))
        bench_die("out of memory");
    ssize_t n = recv(fd, request, FIRST_READ, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN;
    if (n < DIRTY_FRAME_HEADER_LEN)
        return false;
    size_t len = floor_frame_len(request);
    if (len > room && !(request = realloc(request, room = len)))
        bench_die("out of memory");
    if (!receive_rest(fd, request + n, len - (size_t)n))
        return false;
    floor_answer(request, len, head, iov);
    return bench_send_all(fd, iov[0].iov_base, iov[0].iov_len) == 0 &&
           (iov[1].iov_len == 0 ||
            bench_send_all(fd, iov[1].iov_base, iov[1].iov_len) == 0);
}

static void work(int channel, uint32_t me) {
    for (;;) {
        struct epoll_event event;
        if (epoll_wait(ready_fd, &event, 1, -1) < 1)
            continue;
        uint32_t slot = event.data.u32;
        if (!take(slot, me))
            continue;
        if (fds[slot] == 0)
            learn_descriptors(channel);
        do {
            if (!serve(fds[slot])) {
                shutdown(fds[slot], SHUT_RDWR); /* the word stays taken */
                close(fds[slot]);
                break;
            }
        } while (!let_go(slot));
    }
}

static void start_worker(unsigned number, int listener) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        bench_die("socketpair: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        close(pair[0]);
        close(listener);
        work(pair[1], number + 1);
    }
    close(pair[1]);
    workers[number].channel = pair[0];
    workers[number].pid = pid;
}

/* -- Dispatcher --------------------------------------------------------------- */

static void send_descriptor(int channel, uint32_t slot, int fd) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec part = {&slot, sizeof slot};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    if (sendmsg(channel, &message, MSG_NOSIGNAL) < 0)
        bench_die("sendmsg to a worker: %s", strerror(errno));
}

/* A slot is used once: a bench has fewer connections than there are slots. */
static void share(uint32_t slot, int fd, unsigned count) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = slot};
    if (slot >= SLOTS)
        bench_die("more than %u connections", SLOTS);
    for (unsigned i = 0; i < count; i++)
        send_descriptor(workers[i].channel, slot, fd);
    if (epoll_ctl(ready_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        bench_die("epoll_ctl: %s", strerror(errno));
}

void floor_ready(int listener, unsigned count) {
    struct rlimit many = {0};
    getrlimit(RLIMIT_NOFILE, &many);
    many.rlim_cur = many.rlim_max;
    setrlimit(RLIMIT_NOFILE, &many);
    owners = mmap(NULL, SLOTS * sizeof *owners, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ready_fd = epoll_create1(EPOLL_CLOEXEC);
    if (owners == MAP_FAILED || ready_fd < 0)
        bench_die("no memory or no epoll");
    for (unsigned i = 0; i < count; i++)
        start_worker(i, listener);
    uint32_t slot = 0;
    while (!floor_stopped) {
        struct pollfd p = {.fd = listener, .events = POLLIN};
        if (poll(&p, 1, -1) < 1)
            continue;
        for (int fd; (fd = bench_accept(listener)) >= 0;)
            share(slot++, fd, count);
    }
    for (unsigned i = 0; i < count; i++) {
        kill(workers[i].pid, SIGKILL);
        waitpid(workers[i].pid, NULL, 0);
    }
}
