#include "arbiter_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#include "base/channel.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/code.h"
#include "wire/request.h"

#define PATIENCE_MS 10000

/* Shared by the test, the arbiter and its workers: who is held, who keeps a descriptor,
 * and whether a request was given back. */
static _Atomic int *held, *keeper, *returned;

/* -- The scripted worker
 * ------------------------------------------------------------------ */

static void say(int channel, const void *m, size_t len) {
    if (send(channel, m, len, MSG_NOSIGNAL) < 0)
        _exit(3);
}

static void say_done(int channel, uint64_t seq, int connection, bool dropped) {
    dirty_msg_done m = {.kind = DIRTY_MSG_DONE,
                        .seq = seq,
                        .connection = (uint8_t)connection,
                        .dropped = dropped,
                        .run_ns = 1000};
    say(channel, &m, sizeof m);
}

/* The bytes are in a file, whose descriptor goes with the message. */
static void say_stalled(int channel, uint64_t seq, const uint8_t *bytes, uint32_t len) {
    dirty_msg_stalled m = {.kind = DIRTY_MSG_STALLED, .have_len = len, .seq = seq};
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct iovec part = {&m, sizeof m};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof control.room};
    int file = memfd_create("stalled", MFD_CLOEXEC);
    if (file < 0 || write(file, bytes, len) != (ssize_t)len)
        _exit(5);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof file);
    memcpy(CMSG_DATA(c), &file, sizeof file);
    if (sendmsg(channel, &msg, MSG_NOSIGNAL) < 0)
        _exit(3);
    close(file);
}

static void stay(void) {
    atomic_store(held, getpid());
    for (;;)
        pause();
}

static void answer_bytes(int fd, uint64_t id, const char *text, size_t cut) {
    dirty_buf b = {0};
    uint8_t head[DIRTY_FRAME_HEADER_LEN + 2] = {0};
    dirty_frame_encode(head, DIRTY_FRAME_RESPONSE,
                       (uint32_t)(2 + DIRTY_VALUE_HEAD_LEN + strlen(text)), id);
    head[DIRTY_FRAME_HEADER_LEN + 1] = 1;
    dirty_buf_append(&b, head, sizeof head);
    dirty_value_append(&b, DIRTY_TAG_JSON, text, (uint32_t)strlen(text));
    while (send(fd, b.base, cut ? cut : b.len, MSG_NOSIGNAL) < 0 && errno == EAGAIN) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        poll(&p, 1, PATIENCE_MS);
    }
    dirty_buf_deinit(&b);
}

/* As an app that starts a process does, which has all descriptors, and may go its own
 * way. */
static void start_keeper(bool leaves_the_group) {
    if (fork() != 0)
        return;
    if (leaves_the_group)
        setsid(); /* it does not end with the worker's group */
    alarm(60);    /* nor ever outlives the test by much */
    atomic_store(keeper, getpid());
    for (;;)
        pause();
}

/* Chunks, until the connection takes no more. */
static void fill(int fd, uint64_t id) {
    uint8_t chunk[DIRTY_FRAME_HEADER_LEN + 2 + DIRTY_VALUE_HEAD_LEN + 1000] = {0};
    dirty_frame_encode(chunk, DIRTY_FRAME_CHUNK, sizeof chunk - DIRTY_FRAME_HEADER_LEN,
                       id);
    while (send(fd, chunk, sizeof chunk, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        continue;
}

/* Read the rest of a big request. False: the peer is gone. */
static bool read_rest(int fd, size_t left) {
    char bytes[65536];
    while (left > 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        poll(&p, 1, -1);
        ssize_t n = recv(fd, bytes, left < sizeof bytes ? left : sizeof bytes, 0);
        if (n <= 0)
            return false;
        left -= (size_t)n;
    }
    return true;
}

/* A lane of the scripted worker. */
typedef struct scripted {
    const dirty_worker_start *start;
    uint32_t lane;
} scripted;

static void serve_one(const scripted *s, int fd, dirty_msg_dispatch *m, uint8_t *bytes) {
    const dirty_worker_start *start = s->start;
    dirty_lane_page *page = start->pages[s->lane];
    int channel = start->channels[s->lane];
    dirty_frame f;
    dirty_route route;
    dirty_frame_decode(bytes, m->have_len, UINT32_MAX, &f);
    dirty_route_decode(bytes + 16, m->have_len - 16, f.payload_len, &route);
    char action[256];
    snprintf(action, sizeof action, "%.*s", (int)route.action.len, route.action.base);
#define IS(name) (strcmp(action, name) == 0)
    if (IS("hold-reading"))
        stay();
    bool unread = IS("hold-running-unread") || IS("hold-answered-unread");
    if (!unread && !read_rest(fd, m->frame_len - m->have_len)) {
        say_done(channel, m->seq, DIRTY_CONNECTION_LOST, true);
        return;
    }
    if (!unread)
        atomic_store(&page->whole, m->seq);
    if (!dirty_baton_move(page, m->seq, DIRTY_BATON_READING, DIRTY_BATON_RUNNING)) {
        say_done(channel, m->seq, 0, true);
        return;
    }
    if (IS("exit"))
        _exit(7);
    if (IS("done-of-last") || IS("done-of-next")) {
        say_done(channel, IS("done-of-last") ? m->seq - 1 : m->seq + 1, 0, false);
        stay();
    }
    if (IS("stalled-of-last") || IS("stalled-of-next")) {
        say_stalled(channel, IS("stalled-of-last") ? m->seq - 1 : m->seq + 1, bytes,
                    m->have_len);
        stay();
    }
    if (IS("hold-running") || IS("hold-running-unread"))
        stay();
    if (IS("slow"))
        usleep(150000);
    if (!dirty_baton_move(page, m->seq, DIRTY_BATON_RUNNING, DIRTY_BATON_WRITING)) {
        say_done(channel, m->seq, 0, true);
        return;
    }
    if (strncmp(action, "keep", 4) == 0)
        start_keeper(!IS("keep-in-group"));
    bool cut = IS("hold-writing") || IS("keep-writing");
    char text[32] = "null";
    if (IS("pid"))
        snprintf(text, sizeof text, "%d", (int)getpid());
    if (IS("returned"))
        snprintf(text, sizeof text, "%u", start->generation);
    if (IS("receive-ms") && m->recv_deadline_ns != 0)
        snprintf(text, sizeof text, "%llu",
                 (unsigned long long)((m->recv_deadline_ns - m->arrived_ns) /
                                      DIRTY_NS_PER_MS));
    if (IS("plan"))
        snprintf(text, sizeof text, "%s", start->apps[m->app]->options);
    if (IS("fill"))
        fill(fd, f.id);
    else
        answer_bytes(fd, f.id, text, cut ? 9 : 0);
    if (cut)
        stay();
    dirty_baton_move(page, m->seq, DIRTY_BATON_WRITING, DIRTY_BATON_ANSWERED);
    if (IS("hold-answered") || IS("hold-answered-unread"))
        stay();
    close(fd);
    dirty_call_counts_add(start->counts[s->lane],
                          &(dirty_call_sample){.app = m->app,
                                               .action = route.action,
                                               .resolved = true,
                                               .queue_ns = 1,
                                               .run_ns = 1});
    atomic_fetch_add(&page->served, 1);
    say_done(channel, m->seq, DIRTY_CONNECTION_KEEP, false);
}

static void give_back(int channel, const uint8_t *message, size_t len) {
    uint8_t out[sizeof(dirty_msg_plain) + sizeof(dirty_msg_dispatch) + 8192];
    dirty_msg_plain head = {DIRTY_MSG_NO_DESCRIPTOR, (uint32_t)len};
    memcpy(out, &head, sizeof head);
    memcpy(out + sizeof head, message, len);
    say(channel, out, sizeof head + len);
}

/* The body of a lane, until its channel ends. */
static void *serve(void *arg) {
    const scripted *s = arg;
    int channel = s->start->channels[s->lane];
    dirty_msg_plain ready = {.kind = DIRTY_MSG_READY};
    say(channel, &ready, sizeof ready);
    for (;;) {
        uint8_t bytes[sizeof(dirty_msg_dispatch) + 8192];
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec part = {bytes, sizeof bytes};
        struct msghdr msg = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
        ssize_t n = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC);
        dirty_msg_dispatch m;
        if (n < (ssize_t)sizeof m)
            return NULL;
        memcpy(&m, bytes, sizeof m);
        int fd;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof fd);
        bool returns = memmem(bytes, (size_t)n, "returned", 8) != NULL;
        if (returns && atomic_exchange(returned, 1) == 0) {
            close(fd);
            give_back(channel, bytes, (size_t)n);
            continue;
        }
        serve_one(s, fd, &m, bytes + sizeof m);
        close(fd);
    }
}

/* What the boot of this worker comes to: the next letter of the file that the app's
 * options name. '\0': there is none, it boots. */
static char take_fate(const char *options) {
    char path[128], fate = '\0';
    if (sscanf(options, "\"fates %127[^\"]", path) != 1)
        return fate;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    off_t last = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    if (last > 0 && pread(fd, &fate, 1, last - 1) == 1 && ftruncate(fd, last - 1) < 0)
        _exit(6);
    close(fd);
    return fate;
}

int rig_worker_main(const dirty_worker_start *start) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char fate = take_fate(start->apps[0]->options);
    if (fate == 'k')
        raise(SIGKILL);
    bool broken = fate == 'f' || (start->apps[0]->module[0] == '/' &&
                                  access(start->apps[0]->module, F_OK) == 0);
    if (broken || strcmp(start->apps[0]->options, "\"no boot\"") == 0) {
        const char text[] = "xxxxxxxx{\"message\":\"init went wrong\"}";
        dirty_msg_plain head = {DIRTY_MSG_BOOT_FAILED, sizeof text - 9};
        char message[sizeof text];
        memcpy(message, text, sizeof text);
        memcpy(message, &head, sizeof head);
        say(start->channels[0], message, sizeof message - 1);
        return 1;
    }
    scripted lanes[DIRTY_THREADS_MAX];
    pthread_t thread;
    for (uint32_t i = 0; i < start->lane_count; i++)
        lanes[i] = (scripted){start, i};
    for (uint32_t i = 1; i < start->lane_count; i++)
        if (pthread_create(&thread, NULL, serve, &lanes[i]) != 0)
            return 4;
    serve(&lanes[0]);
    return 0;
}

static pid_t wait_pid(_Atomic int *at) {
    uint64_t until_ns = dirty_now_ns() + PATIENCE_MS * DIRTY_NS_PER_MS;
    pid_t pid;
    while ((pid = atomic_exchange(at, 0)) == 0) {
        assert_true(dirty_now_ns() < until_ns);
        usleep(1000);
    }
    return pid;
}

pid_t rig_wait_held(rig *r) {
    (void)r;
    return wait_pid(held);
}

pid_t rig_wait_subreaper(rig *r) {
    (void)r;
    return wait_pid(keeper);
}

/* -- The arbiter
 * ---------------------------------------------------------------------------- */

void rig_init(rig *r) {
    memset(r, 0, sizeof *r);
    if (held == NULL)
        held =
            mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    keeper = held + 1;
    returned = held + 2;
    atomic_store(held, 0);
    atomic_store(keeper, 0);
    atomic_store(returned, 0);
    snprintf(r->dir, sizeof r->dir, "/tmp/dirty-rig-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->socket, sizeof r->socket, "%s/s", r->dir);
    for (int i = 0; i < 3; i++)
        r->apps[i] = (dirty_app_spec){.name = (const char *[]){"t", "u", "v"}[i],
                                      .module = "none",
                                      .options = "{}",
                                      .timeout_ms = 300000,
                                      .max_queue = 20000};
    r->o = (dirty_arbiter_options){.socket_path = r->socket,
                                   .socket_mode = 0600,
                                   .socket_uid = -1,
                                   .socket_gid = -1,
                                   .backlog = 4096,
                                   .workers = 1,
                                   .threads = 1,
                                   .max_queue = 20000,
                                   .graceful_timeout_ms = 5000,
                                   .timeout_grace_ms = 100,
                                   .boot_timeout_ms = 10000,
                                   .recv_timeout_ms = 10000,
                                   .linger_timeout_ms = 500,
                                   .limits = {64u << 20, 255, 1000, 10000},
                                   .app_count = 1,
                                   .apps = r->apps,
                                   .lua_path = "",
                                   .lua_cpath = "",
                                   .worker_main = rig_worker_main};
}

/* -- Plans of a reload, read in the arbiter's process -- */

static struct {
    const rig_plan *next;
    size_t count, at;
    const dirty_arbiter_options *base;
} script;

static int script_probe(void *ctx, bool same, int report_fd) {
    (void)ctx;
    (void)same;
    const char text[] = "a report\n";
    return write(report_fd, text, sizeof text - 1) == sizeof text - 1 ? 0 : 1;
}

static int script_finish(void *ctx, const char *report, size_t len,
                         const dirty_arbiter_options **out, char *why, size_t size) {
    (void)ctx;
    const rig_plan *p = &script.next[script.at];
    if (len != 9 || memcmp(report, "a report\n", 9) != 0)
        abort();
    if (p->fails_at != NULL && strcmp(p->fails_at, "read") == 0) {
        snprintf(why, size, "the file is broken");
        return -1;
    }
    if (p->fails_at != NULL && strcmp(p->fails_at, "probe") == 0) {
        snprintf(why, size, "app t: syntax error near 'x'");
        return -1;
    }
    if (script.at + 1 < script.count)
        script.at++;
    dirty_arbiter_options *o = malloc(sizeof *o);
    dirty_app_spec *apps = calloc(3, sizeof *apps);
    *o = *script.base;
    o->apps = apps;
    o->workers = p->workers;
    o->app_count = 0;
    bool boots = p->fails_at == NULL || strcmp(p->fails_at, "boot") != 0;
    while (o->app_count < 3 && p->apps[o->app_count] != NULL) {
        apps[o->app_count] = script.base->apps[0];
        apps[o->app_count].name = p->apps[o->app_count];
        apps[o->app_count].options = boots ? p->mark : "\"no boot\"";
        apps[o->app_count].exclusive = p->exclusive || (p->apart && o->app_count == 0);
        apps[o->app_count].workers = p->apart;
        o->app_count++;
    }
    if (p->limit > 0)
        apps[o->app_count - 1].workers = p->limit;
    *out = o;
    return 0;
}

static void script_release(void *ctx, const dirty_arbiter_options *o) {
    (void)ctx;
    free((void *)(uintptr_t)o->apps);
    free((void *)(uintptr_t)o);
}

void rig_plans(rig *r, const rig_plan *next, size_t count) {
    script.next = next;
    script.count = count;
    script.at = 0;
    script.base = &r->o;
    r->o.source = (dirty_config_source){
        .probe = script_probe, .finish = script_finish, .release = script_release};
}

void rig_start(rig *r) {
    fflush(NULL);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        char path[96];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(path, sizeof path, "%s/log", r->dir);
        dirty_log_open(path, DIRTY_LOG_DEBUG);
        _exit(dirty_arbiter_run(&r->o));
    }
    close(rig_connect(r));
}

void rig_remove(rig *r) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", r->dir);
    assert_int_equal(system(command), 0);
    r->dir[0] = '\0';
}

void rig_stop(rig *r, int status) {
    int wait_status = 0;
    kill(r->pid, SIGTERM);
    uint64_t until_ns = dirty_now_ns() + PATIENCE_MS * DIRTY_NS_PER_MS;
    while (waitpid(r->pid, &wait_status, WNOHANG) == 0) {
        if (dirty_now_ns() > until_ns) {
            kill(r->pid, SIGKILL);
            fail_msg("the arbiter does not stop, see %s/log", r->dir);
        }
        usleep(1000);
    }
    if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != status)
        fail_msg("arbiter ended with wait status %#x, see %s/log", wait_status, r->dir);
    assert_int_not_equal(access(r->socket, F_OK), 0);
    r->pid = 0;
    rig_remove(r);
}

int rig_set_up(void **state) {
    rig *r = malloc(sizeof *r);
    assert_non_null(r);
    rig_init(r);
    *state = r;
    return 0;
}

int rig_tear_down(void **state) {
    rig *r = *state;
    char command[128];
    if (r->pid > 0 && kill(r->pid, SIGKILL) == 0)
        waitpid(r->pid, NULL, 0);
    if (r->dir[0] != '\0') {
        snprintf(command, sizeof command, "tail -n 30 %s/log >&2", r->dir);
        (void)!system(command);
        rig_remove(r);
    }
    free(r);
    return 0;
}

/* -- Raw clients
 * ------------------------------------------------------------------------------ */

int rig_connect(const rig *r) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", r->socket);
    uint64_t until_ns = dirty_now_ns() + PATIENCE_MS * DIRTY_NS_PER_MS;
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
            return fd;
        close(fd);
        assert_true(dirty_now_ns() < until_ns);
        usleep(1000);
    }
}

void rig_send(int fd, const void *bytes, size_t len) {
    const char *p = bytes;
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

size_t rig_request(uint8_t **out, uint64_t id, const char *app, const char *action,
                   uint32_t budget_ms, size_t payload) {
    dirty_buf b = {0};
    size_t values = payload ? DIRTY_VALUE_HEAD_LEN + payload : 0;
    dirty_route route = {.budget_ms = budget_ms,
                         .priority = 5,
                         .argc = payload > 0,
                         .app = dirty_slice_cstr(app),
                         .action = dirty_slice_cstr(action)};
    assert_int_equal(dirty_request_encode_head(&b, id, &route, values), 0);
    if (payload > 0) {
        void *zeros = calloc(1, payload);
        dirty_value_append(&b, DIRTY_TAG_BYTES, zeros, (uint32_t)payload);
        free(zeros);
    }
    *out = b.base;
    return b.len;
}

void rig_call(int fd, uint64_t id, const char *app, const char *action) {
    uint8_t *request;
    size_t len = rig_request(&request, id, app, action, 0, 0);
    rig_send(fd, request, len);
    free(request);
}

/* 1 all there, 0 ended at once, -1 ended inside. */
static int read_all(int fd, uint8_t *at, size_t len) {
    size_t got = 0;
    while (got < len) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, PATIENCE_MS) == 0)
            fail_msg("no answer within %d ms", PATIENCE_MS);
        ssize_t n = recv(fd, at + got, len - got, 0);
        if (n <= 0)
            return got == 0 ? 0 : -1;
        got += (size_t)n;
    }
    return 1;
}

int rig_read(int fd, dirty_frame *f, uint8_t **payload) {
    uint8_t head[DIRTY_FRAME_HEADER_LEN];
    *payload = NULL;
    int rc = read_all(fd, head, sizeof head);
    if (rc != 1)
        return rc;
    assert_int_equal(dirty_frame_decode(head, sizeof head, UINT32_MAX, f), DIRTY_WIRE_OK);
    *payload = malloc(f->payload_len + 1);
    rc = f->payload_len ? read_all(fd, *payload, f->payload_len) : 1;
    return rc == 1 ? 1 : -1;
}

char *rig_expect_error(int fd, uint64_t id, unsigned code) {
    dirty_frame f;
    uint8_t *payload;
    dirty_error e;
    assert_int_equal(rig_read(fd, &f, &payload), 1);
    assert_int_equal(f.type, DIRTY_FRAME_ERROR);
    assert_int_equal(f.id, id);
    assert_int_equal(dirty_error_decode(payload, f.payload_len, &e), DIRTY_WIRE_OK);
    assert_string_equal(dirty_code_name(e.code), dirty_code_name(code));
    char *details = malloc(e.message.len + e.details.len + 2);
    snprintf(details, e.message.len + e.details.len + 2, "%.*s %.*s", (int)e.message.len,
             e.message.base, (int)e.details.len, e.details.base);
    free(payload);
    return details;
}

/* Say what an error says that was not expected. */
static void tell_error(const dirty_frame *f, const uint8_t *payload) {
    dirty_error e;
    if (f->type == DIRTY_FRAME_ERROR &&
        dirty_error_decode(payload, f->payload_len, &e) == DIRTY_WIRE_OK)
        print_error("%s: %.*s %.*s\n", dirty_code_name(e.code), (int)e.message.len,
                    e.message.base, (int)e.details.len, e.details.base);
}

void rig_expect_value(int fd, uint64_t id) {
    dirty_frame f;
    uint8_t *payload;
    assert_int_equal(rig_read(fd, &f, &payload), 1);
    tell_error(&f, payload);
    assert_int_equal(f.type, DIRTY_FRAME_RESPONSE);
    assert_int_equal(f.id, id);
    free(payload);
}

void rig_expect_text(int fd, uint64_t id, const char *app, const char *action,
                     const char *text) {
    dirty_frame f;
    uint8_t *payload;
    rig_call(fd, id, app, action);
    assert_int_equal(rig_read(fd, &f, &payload), 1);
    assert_int_equal(f.id, id);
    assert_true(f.payload_len >= 7);
    payload[f.payload_len] = '\0';
    assert_string_equal((char *)payload + 7, text);
    free(payload);
}

void rig_expect_end(int fd) {
    dirty_frame f;
    uint8_t *payload;
    assert_int_equal(rig_read(fd, &f, &payload), 0);
}

char *rig_status(rig *r) {
    dirty_frame f;
    uint8_t *payload;
    int fd = rig_connect(r);
    rig_call(fd, 77, "@arbiter", "status");
    assert_int_equal(rig_read(fd, &f, &payload), 1);
    assert_int_equal(f.type, DIRTY_FRAME_RESPONSE);
    payload[f.payload_len] = '\0';
    memmove(payload, payload + 7, f.payload_len - 6);
    close(fd);
    return (char *)payload;
}

void rig_wait_status(rig *r, const char *needle) {
    uint64_t until_ns = dirty_now_ns() + PATIENCE_MS * DIRTY_NS_PER_MS;
    for (;;) {
        char *text = rig_status(r);
        bool found = strstr(text, needle) != NULL;
        if (!found && dirty_now_ns() > until_ns)
            fail_msg("status never had %s: %s", needle, text);
        free(text);
        if (found)
            return;
        usleep(2000);
    }
}
