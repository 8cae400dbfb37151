/* How the arbiter ends connections: at once, whoever else holds a descriptor of them, and
 * without losing what it said last. */
#include "harness.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arbiter_rig.h"
#include "base/clock.h"
#include "wire/code.h"

/* What the linger of these tests would take, far more than the patience of the rig. */
#define LONG_MS 60000

/* -- A child of an app holds a duplicate ------------------------------------------- */

/* The connection has ended inside of a frame, while the child still has it open. */
static void expect_cut(int fd, pid_t child) {
    dirty_frame f;
    uint8_t *payload;
    assert_int_equal(rig_read(fd, &f, &payload), -1);
    free(payload);
    assert_int_equal(kill(child, SIGKILL), 0);
    close(fd);
}

static void kept_when_time_is_over(void **state) {
    rig *r = *state;
    uint8_t *request;
    rig_start(r);
    int fd = rig_connect(r);
    size_t len = rig_request(&request, 1, "t", "keep-writing", 500, 0);
    rig_send(fd, request, len);
    free(request);
    expect_cut(fd, rig_wait_subreaper(r));
    rig_stop(r, 0);
}

static void kept_when_the_worker_is_lost(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    rig_call(fd, 1, "t", "keep-writing");
    pid_t child = rig_wait_subreaper(r); /* it has left the group that is killed */
    kill(rig_wait_held(r), SIGKILL);
    expect_cut(fd, child);
    rig_stop(r, 0);
}

static void kept_when_the_caller_is_done(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    rig_call(fd, 1, "t", "keep");
    rig_expect_value(fd, 1);
    pid_t child = rig_wait_subreaper(r);
    shutdown(fd, SHUT_WR);
    rig_expect_end(fd);
    assert_int_equal(kill(child, SIGKILL), 0);
    close(fd);
    rig_stop(r, 0);
}

/* -- The OOM killer ------------------------------------------------------------------ */

/* Write DIR/path, a file of a tree like those of /proc and /sys. */
static void put(const rig *r, const char *path, const char *text) {
    char whole[256];
    snprintf(whole, sizeof whole, "%s/%s", r->dir, path);
    for (char *at = whole + strlen(r->dir) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(whole, 0700);
        *at = '/';
    }
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* What is said to the caller of a worker that is killed; `oom_count` is what the kernel
 * counts by then. */
static char *lost_call(rig *r, bool by_oom_killer, const char *oom_count) {
    int fd = rig_connect(r);
    rig_call(fd, 1, "t", "hold-running");
    pid_t pid = rig_wait_held(r);
    if (by_oom_killer)
        put(r, "sys/fs/cgroup/memory.events", oom_count);
    kill(pid, SIGKILL);
    char *said = rig_expect_error(fd, 1, DIRTY_CODE_WORKER_LOST);
    close(fd);
    return said;
}

static void a_worker_that_the_oom_killer_ended_is_told_as_such(void **state) {
    rig *r = *state;
    r->o.system_root = r->dir;
    put(r, "proc/self/cgroup", "0::/\n");
    put(r, "proc/self/mountinfo",
        "30 22 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put(r, "sys/fs/cgroup/memory.events", "oom 0\noom_kill 4\n");
    rig_start(r);

    char *said = lost_call(r, true, "oom 1\noom_kill 5\n");
    assert_non_null(strstr(said, "was killed by signal 9 (SIGKILL), likely by the OOM "
                                 "killer, while it ran t.hold-running"));
    assert_non_null(strstr(said, "\"cause\":\"oom\""));
    assert_non_null(strstr(said, "\"killed_by_runtime\":false"));
    free(said);
    rig_wait_status(r, "\"last_exit\":\"signal 9 (SIGKILL), likely the OOM killer\"");

    said = lost_call(r, false, NULL); /* the next one, by somebody else */
    assert_non_null(strstr(said, "was killed by signal 9 (SIGKILL) while it ran"));
    assert_null(strstr(said, "OOM"));
    assert_null(strstr(said, "\"cause\""));
    free(said);
    put(r, "sys/fs/cgroup/memory.events", "");
    rig_stop(r, 0);
}

/* -- An answer before the request was read ------------------------------------------ */

static void an_early_refusal_ends_at_once(void **state) {
    rig *r = *state;
    uint8_t *request;
    r->o.linger_timeout_ms = LONG_MS;
    rig_start(r);
    int fd = rig_connect(r);
    size_t len = rig_request(&request, 1, "nobody", "value", 0, 100000);
    rig_send(fd, request, len / 2);
    free(rig_expect_error(fd, 1, DIRTY_CODE_APP_NOT_FOUND));
    rig_expect_end(fd);
    rig_send(fd, request + len / 2, len - len / 2); /* still taken, and thrown away */
    free(request);
    close(fd);
    rig_stop(r, 0);
}

/* The refusal finds no room and is sent later: then too the connection ends with it. */
static void a_refusal_that_had_to_wait_ends_at_once(void **state) {
    rig *r = *state;
    dirty_frame f;
    uint8_t *payload;
    r->o.linger_timeout_ms = LONG_MS;
    rig_start(r);
    int fd = rig_connect(r);
    rig_call(fd, 1, "t", "fill");
    rig_send(fd, "no such protocol", 16);
    rig_wait_status(r, "\"PROTOCOL\":1");
    do {
        assert_int_equal(rig_read(fd, &f, &payload), 1);
        free(payload);
    } while (f.type == DIRTY_FRAME_CHUNK);
    assert_int_equal(f.type, DIRTY_FRAME_ERROR);
    rig_expect_end(fd);
    close(fd);
    rig_stop(r, 0);
}

/* -- Peers that don't close --------------------------------------------------------- */

#define PATIENCE_MS 20000

/* Until the other side is closed, not only shut down; a byte is sent now and then, if
 * `send_bytes`. */
static void await_closed(int fd, bool send_bytes) {
    struct pollfd p = {.fd = fd, .events = 0};
    uint64_t until_ns = dirty_now_ns() + PATIENCE_MS * DIRTY_NS_PER_MS;
    while (poll(&p, 1, 10) == 0) {
        assert_true(dirty_now_ns() < until_ns);
        if (send_bytes)
            send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    assert_true(p.revents & POLLHUP);
}

/* It is waited for no longer than linger_timeout, whether it says more or not. */
static void a_peer_that_does_not_close_is_left(void **state) {
    rig *r = *state;
    r->o.linger_timeout_ms = 200;
    rig_start(r);
    for (int talks = 0; talks < 2; talks++) {
        int fd = rig_connect(r);
        uint64_t at_ns = dirty_now_ns();
        rig_send(fd, "no such protocol", 16);
        free(rig_expect_error(fd, 0, DIRTY_CODE_PROTOCOL));
        rig_expect_end(fd);
        await_closed(fd, talks);
        assert_true(dirty_now_ns() - at_ns >= 200 * DIRTY_NS_PER_MS);
        close(fd);
    }
    rig_stop(r, 0);
}

/* Nor one that does not read what it is told: for that it has send_timeout. */
static void a_peer_that_does_not_read_is_left(void **state) {
    rig *r = *state;
    r->o.linger_timeout_ms = LONG_MS;
    r->o.limits.send_timeout_ms = 200;
    rig_start(r);
    int fd = rig_connect(r);
    rig_call(fd, 1, "t", "fill");
    rig_send(fd, "no such protocol", 16);
    rig_wait_status(r, "\"PROTOCOL\":1");
    await_closed(fd, false);
    close(fd);
    rig_stop(r, 0);
}

/* What it still says is thrown away up to a bound. */
static void a_peer_that_does_not_stop_is_left(void **state) {
    static const char bytes[4096];
    rig *r = *state;
    r->o.linger_timeout_ms = LONG_MS;
    rig_start(r);
    int fd = rig_connect(r), room = 0;
    socklen_t len = sizeof room;
    rig_send(fd, "no such protocol", 16);
    free(rig_expect_error(fd, 0, DIRTY_CODE_PROTOCOL));
    rig_expect_end(fd);
    size_t sent = 0;
    for (ssize_t n; (n = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL)) > 0;) {
        sent += (size_t)n;
        assert_true(sent < 8u << 20);
    }
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &len), 0);
    assert_in_range(sent, 256 << 10, (512 << 10) + room);
    close(fd);
    rig_stop(r, 0);
}

/* The runtime's own end comes while it lingers: that is not waited for either. */
static void a_stop_does_not_wait_for_who_lingers(void **state) {
    rig *r = *state;
    r->o.linger_timeout_ms = LONG_MS;
    rig_start(r);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = rig_connect(r);
        rig_send(fds[i], "no such protocol", 16);
        free(rig_expect_error(fds[i], 0, DIRTY_CODE_PROTOCOL));
    }
    rig_stop(r, 0);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG_TEST(kept_when_time_is_over),
        RIG_TEST(kept_when_the_worker_is_lost),
        RIG_TEST(kept_when_the_caller_is_done),
        RIG_TEST(a_worker_that_the_oom_killer_ended_is_told_as_such),
        RIG_TEST(an_early_refusal_ends_at_once),
        RIG_TEST(a_refusal_that_had_to_wait_ends_at_once),
        RIG_TEST(a_peer_that_does_not_close_is_left),
        RIG_TEST(a_peer_that_does_not_read_is_left),
        RIG_TEST(a_peer_that_does_not_stop_is_left),
        RIG_TEST(a_stop_does_not_wait_for_who_lingers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
