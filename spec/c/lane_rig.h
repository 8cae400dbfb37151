/* lane_rig: a worker process without an arbiter, for tests of the lane. The test plays
 * the arbiter on the channels and the caller on a socket pair of its own. Every wait has
 * a deadline; a failed one fails the test. */
#ifndef DIRTY_SPEC_LANE_RIG_H
#define DIRTY_SPEC_LANE_RIG_H

#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/channel.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/worker_start.h"
#include "wire/code.h"
#include "wire/frame.h"
#include "wire/request.h"
#include "worker/worker.h"

#define RIG_LANES_MAX 8
#define RIG_WAIT_MS 60000
#define RIG_CPATH                                                                \
    "/usr/lib/x86_64-linux-gnu/lua/5.1/?.so;/usr/lib/aarch64-linux-gnu/lua/5.1/" \
    "?.so;/usr/local/lib/lua/5.1/?.so"

typedef struct rig {
    pid_t pid;
    uint32_t lanes;
    int channels[RIG_LANES_MAX];
    dirty_lane_page *pages[RIG_LANES_MAX];
    dirty_call_counts *counts[RIG_LANES_MAX];
    uint64_t seq;
    uint32_t app;        /* that requests are dispatched to */
    rlim_t memory_max;   /* address space of the worker, 0: no limit */
    const char *log;     /* file that the worker logs to, NULL: stderr */
    bool foreign_parent; /* the worker is told of an arbiter that is not its parent */
    dirty_worker_start start;
    const dirty_app_spec *apps[8];
} rig;

/* The caller's side of one connection, and what the arbiter would hold of it. */
typedef struct rig_caller {
    int fd;   /* the caller's end */
    int held; /* the arbiter's end, -1 once it is closed */
} rig_caller;

/* A frame as the caller gets it. */
typedef struct rig_frame {
    dirty_frame head;
    uint8_t *payload; /* owned by the test */
} rig_frame;

/* The Lua path of workers. The runtime's own modules are found by absolute places only.
 */
static inline const char *rig_path(void) {
    static char path[2 * PATH_MAX + 100];
    char here[PATH_MAX];
    assert_non_null(getcwd(here, sizeof here));
    snprintf(path, sizeof path,
             "./?.lua;./?/init.lua;%s/lua/?.lua;%s/lua/?/init.lua;./spec/apps/?.lua",
             here, here);
    return path;
}

static inline void rig_init(rig *r, uint32_t lanes) {
    memset(r, 0, sizeof *r);
    r->lanes = lanes;
    r->start = (dirty_worker_start){.number = 3,
                                    .generation = 1,
                                    .lane_count = lanes,
                                    .apps = r->apps,
                                    .limits = {.max_message = DIRTY_MAX_MESSAGE_DEFAULT,
                                               .max_args = DIRTY_MAX_ARGS_DEFAULT,
                                               .max_depth = 1000,
                                               .send_timeout_ms = 20000},
                                    .patience_ms = RIG_WAIT_MS,
                                    .lua_path = rig_path()};
}

/* -- Apps written for a test ------------------------------------------------------- */

/* A directory of its own for a test's apps, and the Lua path that finds them. */
typedef struct rig_apps {
    char dir[64];
    char path[2 * PATH_MAX + 200];
    char files[32][128];
    int count;
} rig_apps;

static inline void rig_apps_open(rig_apps *a) {
    memset(a, 0, sizeof *a);
    snprintf(a->dir, sizeof a->dir, "/tmp/dirty-rig-XXXXXX");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->path, sizeof a->path, "%s/?.lua;%s", a->dir, rig_path());
}

static inline void rig_apps_write(rig_apps *a, const char *name, const char *text) {
    char path[sizeof a->files[0]];
    assert_true(a->count < (int)(sizeof a->files / sizeof a->files[0]));
    snprintf(path, sizeof path, "%s/%s.lua", a->dir, name);
    memcpy(a->files[a->count++], path, sizeof path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline void rig_apps_close(rig_apps *a) {
    while (a->count > 0)
        unlink(a->files[--a->count]);
    rmdir(a->dir);
}

/* -- The worker -------------------------------------------------------------------- */

static inline void rig_add_app(rig *r, const dirty_app_spec *spec) {
    r->apps[r->start.app_count++] = spec;
}

/* Fork the worker. What it says on stderr is left to be seen when a test fails. */
static inline void rig_start(rig *r) {
    int ends[RIG_LANES_MAX];
    for (uint32_t i = 0; i < r->lanes; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        r->channels[i] = pair[0];
        ends[i] = pair[1];
        r->pages[i] = mmap(NULL, sizeof(dirty_lane_page), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(r->pages[i], MAP_FAILED);
        r->counts[i] = dirty_call_counts_open(r->start.app_count);
        assert_non_null(r->counts[i]);
    }
    r->start.channels = ends;
    r->start.pages = r->pages;
    r->start.counts = r->counts;
    r->start.arbiter_pid = r->foreign_parent ? 1 : getpid();
    fflush(NULL);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        for (uint32_t i = 0; i < r->lanes; i++)
            close(r->channels[i]);
        setpgid(0, 0);
        for (int i = 1; i < NSIG; i++)
            signal(i, SIG_DFL); /* cmocka catches the fatal ones */
        if (r->log != NULL)
            dirty_log_open(r->log, DIRTY_LOG_DEBUG);
        struct rlimit memory = {r->memory_max, r->memory_max};
        if (r->memory_max > 0)
            setrlimit(RLIMIT_AS, &memory);
        _exit(dirty_worker_main(&r->start));
    }
    for (uint32_t i = 0; i < r->lanes; i++)
        close(ends[i]);
}

static inline void rig_wait_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = poll(&p, 1, RIG_WAIT_MS);
    if (n != 1)
        fail_msg("nothing to read on descriptor %d within %d ms", fd, RIG_WAIT_MS);
}

/* The next message of the lane, at most `size` bytes; its length. */
static inline size_t rig_message(rig *r, uint32_t lane, void *out, size_t size) {
    rig_wait_readable(r->channels[lane]);
    ssize_t n = recv(r->channels[lane], out, size, 0);
    assert_true(n >= 0);
    return (size_t)n;
}

static inline void rig_expect_ready(rig *r) {
    for (uint32_t i = 0; i < r->lanes; i++) {
        dirty_msg_plain m = {0};
        assert_int_equal(rig_message(r, i, &m, sizeof m), sizeof m);
        assert_int_equal(m.kind, DIRTY_MSG_READY);
    }
}

static inline int rig_reap(rig *r) {
    int status = 0;
    uint64_t deadline = dirty_now_ns() + RIG_WAIT_MS * DIRTY_NS_PER_MS;
    while (waitpid(r->pid, &status, WNOHANG) == 0) {
        if (dirty_now_ns() > deadline) {
            kill(r->pid, SIGKILL);
            waitpid(r->pid, &status, 0);
            fail_msg("the worker did not end within %d ms", RIG_WAIT_MS);
        }
        poll(NULL, 0, 2);
    }
    for (uint32_t i = 0; i < r->lanes; i++) {
        close(r->channels[i]);
        munmap(r->pages[i], sizeof(dirty_lane_page));
        dirty_call_counts_close(r->counts[i], r->start.app_count);
    }
    return status;
}

static inline void rig_stop(rig *r) {
    dirty_msg_plain stop = {.kind = DIRTY_MSG_STOP};
    for (uint32_t i = 0; i < r->lanes; i++)
        assert_int_equal(send(r->channels[i], &stop, sizeof stop, MSG_NOSIGNAL),
                         sizeof stop);
    int status = rig_reap(r);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), DIRTY_WORKER_STOPPED);
}

/* -- Callers ----------------------------------------------------------------------- */

static inline rig_caller rig_connect(void) {
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    fcntl(pair[1], F_SETFL, O_NONBLOCK);
    return (rig_caller){.fd = pair[0], .held = pair[1]};
}

static inline void rig_disconnect(rig_caller *c) {
    close(c->fd);
    if (c->held >= 0)
        close(c->held);
}

/* The DISPATCH that the arbiter would make of `frame_len` bytes of which it has read the
 * first `have`. */
static inline dirty_msg_dispatch rig_head(rig *r, uint32_t lane, size_t have,
                                          size_t frame_len) {
    uint64_t now = dirty_now_ns();
    dirty_baton_begin(r->pages[lane], ++r->seq);
    return (dirty_msg_dispatch){.kind = DIRTY_MSG_DISPATCH,
                                .app = r->app,
                                .seq = r->seq,
                                .arrived_ns = now,
                                .deadline_ns = now + 30000 * DIRTY_NS_PER_MS,
                                .recv_deadline_ns = now + 30000 * DIRTY_NS_PER_MS,
                                .frame_len = (uint32_t)frame_len,
                                .have_len = (uint32_t)have,
                                .peer_pid = (int32_t)getpid(),
                                .peer_uid = (uint32_t)getuid()};
}

static inline void rig_send(rig *r, uint32_t lane, const dirty_msg_dispatch *head,
                            const void *bytes, int fd) {
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct iovec iov[] = {{(void *)(uintptr_t)head, sizeof *head},
                          {(void *)(uintptr_t)bytes, head->have_len}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    if (fd >= 0) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    assert_int_equal(sendmsg(r->channels[lane], &m, MSG_NOSIGNAL),
                     sizeof *head + head->have_len);
}

/* Send bytes as a caller does whose peer reads at the same time. */
static inline void rig_write(int fd, const void *bytes, size_t len) {
    for (size_t sent = 0; sent < len;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll(&p, 1, RIG_WAIT_MS) != 1)
            fail_msg("nothing can be written within %d ms", RIG_WAIT_MS);
        ssize_t n =
            send(fd, (const char *)bytes + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
    }
}

/* Dispatch a request as the arbiter does: the first bytes with the message, the rest on
 * the connection. */
static inline void rig_dispatch(rig *r, uint32_t lane, rig_caller *c,
                                const dirty_buf *frame) {
    size_t have = frame->len < DIRTY_HEAD_BYTES_MAX ? frame->len : DIRTY_HEAD_BYTES_MAX;
    dirty_msg_dispatch head = rig_head(r, lane, have, frame->len);
    rig_send(r, lane, &head, frame->base, c->held);
    rig_write(c->fd, frame->base + have, frame->len - have);
}

static inline dirty_msg_done rig_done(rig *r, uint32_t lane) {
    dirty_msg_done done = {0};
    assert_int_equal(rig_message(r, lane, &done, sizeof done), sizeof done);
    assert_int_equal(done.kind, DIRTY_MSG_DONE);
    assert_int_equal(done.seq, r->seq);
    return done;
}

static inline void rig_read(int fd, void *out, size_t len) {
    size_t have = 0;
    while (have < len) {
        rig_wait_readable(fd);
        ssize_t n = read(fd, (char *)out + have, len - have);
        if (n <= 0)
            fail_msg("the answer ended after %zu of %zu bytes", have, len);
        have += (size_t)n;
    }
}

static inline rig_frame rig_answer(rig_caller *c) {
    rig_frame f;
    uint8_t head[DIRTY_FRAME_HEADER_LEN];
    rig_read(c->fd, head, sizeof head);
    assert_int_equal(dirty_frame_decode(head, sizeof head, UINT32_MAX, &f.head), 0);
    f.payload = malloc(f.head.payload_len + 1);
    assert_non_null(f.payload);
    rig_read(c->fd, f.payload, f.head.payload_len);
    f.payload[f.head.payload_len] = '\0';
    return f;
}

/* -- Requests ---------------------------------------------------------------------- */

#define RIG_ID 77

/* A request; `values` are its metadata, if the flag says so, and `argc` arguments, all
 * encoded already. */
static inline void rig_request_flags(dirty_buf *out, const char *action, uint16_t argc,
                                     const dirty_buf *values, uint8_t flags) {
    dirty_route route = {.priority = DIRTY_PRIORITY_DEFAULT,
                         .flags = flags,
                         .argc = argc,
                         .app = dirty_slice_cstr("any"),
                         .action = dirty_slice_cstr(action)};
    size_t len = values ? values->len : 0;
    out->len = 0;
    assert_int_equal(dirty_request_encode_head(out, RIG_ID, &route, len), 0);
    if (len > 0)
        dirty_buf_append(out, values->base, len);
    assert_false(dirty_buf_failed(out));
}

static inline void rig_request(dirty_buf *out, const char *action, uint16_t argc,
                               const dirty_buf *values) {
    rig_request_flags(out, action, argc, values, 0);
}

static inline void rig_json(dirty_buf *values, const char *text) {
    dirty_value_append(values, DIRTY_TAG_JSON, text, (uint32_t)strlen(text));
}

static inline void rig_bytes(dirty_buf *values, const void *bytes, size_t len) {
    dirty_value_append(values, DIRTY_TAG_BYTES, bytes, (uint32_t)len);
}

#endif
