/* Requests that lanes take themselves: a real arbiter and real lanes, of which one is
 * stopped or killed between two steps (base/step.h). */
#include "harness.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter_rig.h"
#include "base/clock.h"
#include "base/step.h"
#include "wire/code.h"
#include "wire/request.h"
#include "wire/request.h"
#include "worker/worker.h"

#define WAIT_MS 20000
/* How long a lane that has answered may take to come to the last step. */
#define BEHIND_MS 2000
/* How long an arbiter may be silent before lanes know it. */
#define SILENCE_MS 700

/* What the hook in the lanes does: orders that the test and all lanes share. */
static struct orders {
    char step[16];
    int signal;
    _Atomic int armed; /* the first lane at the step takes it */
    _Atomic int pid;   /* the lane that was hit */
} *orders;

static void on_step(const char *name) {
    int one = 1;
    if (atomic_load(&orders->armed) == 0 || strcmp(name, orders->step) != 0 ||
        !atomic_compare_exchange_strong(&orders->armed, &one, 0))
        return;
    atomic_store(&orders->pid, getpid());
    kill(getpid(), orders->signal);
}

static int hooked_main(const dirty_worker_start *start) {
    dirty_step_hook = on_step;
    return dirty_worker_main(start);
}

static void arm(const char *step, int signal) {
    snprintf(orders->step, sizeof orders->step, "%s", step);
    orders->signal = signal;
    atomic_store(&orders->pid, 0);
    atomic_store(&orders->armed, 1);
}

static const char *lua_path(void) {
    static char path[3 * PATH_MAX + 100];
    char here[PATH_MAX];
    assert_non_null(getcwd(here, sizeof here));
    snprintf(path, sizeof path, "%s/?.lua;%s/lua/?.lua;%s/lua/?/init.lua", here, here,
             here);
    return path;
}

static void prepare(rig *r, uint32_t workers, bool fast_path) {
    if (orders == NULL)
        orders = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    atomic_store(&orders->armed, 0);
    rig_init(r);
    r->apps[0] = (dirty_app_spec){.name = "apps.echo",
                                  .module = "apps.echo",
                                  .options = "{}",
                                  .timeout_ms = 60000,
                                  .max_queue = 1000,
                                  .interruptible = true};
    r->o.workers = workers;
    r->o.fast_path = fast_path;
    r->o.lua_path = lua_path();
    r->o.lua_cpath = NULL;        /* the default of Lua */
    r->o.timeout_grace_ms = 3000; /* a busy machine is no reason to kill a worker */
    r->o.worker_main = hooked_main;
}

static void begin(rig *r) {
    rig_start(r);
    rig_wait_status(r, "\"ready\":true");
}

static void start(rig *r, uint32_t workers, bool fast_path) {
    prepare(r, workers, fast_path);
    begin(r);
}

static void call(int fd, uint64_t id, uint32_t budget_ms) {
    uint8_t *bytes;
    size_t len = rig_request(&bytes, id, "apps.echo", "noop", budget_ms, 0);
    rig_send(fd, bytes, len);
    free(bytes);
}

/* Call what takes 2 ms. */
static void nap(int fd, uint64_t id) {
    dirty_buf b = {0};
    dirty_route route = {.priority = 5,
                         .argc = 1,
                         .app = dirty_slice_cstr("apps.echo"),
                         .action = dirty_slice_cstr("sleep")};
    assert_int_equal(dirty_request_encode_head(&b, id, &route, DIRTY_VALUE_HEAD_LEN + 1),
                     0);
    dirty_value_append(&b, DIRTY_TAG_JSON, "2", 1);
    rig_send(fd, b.base, b.len);
    dirty_buf_deinit(&b);
}

/* The number behind "name": in the status. */
static unsigned long long counter(rig *r, const char *name) {
    char key[40];
    char *status = rig_status(r);
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(status, key);
    assert_non_null(at);
    unsigned long long value = strtoull(at + strlen(key), NULL, 10);
    free(status);
    return value;
}

/* A connection whose requests lanes take themselves. */
static int share(rig *r) {
    int fd = rig_connect(r);
    unsigned long long direct = counter(r, "direct");
    uint64_t until_ns = dirty_now_ns() + WAIT_MS * DIRTY_NS_PER_MS;
    for (uint64_t id = 1; counter(r, "direct") == direct; id++) {
        assert_true(dirty_now_ns() < until_ns);
        call(fd, id, 0);
        rig_expect_value(fd, id);
    }
    return fd;
}

/* Make calls until one brings a lane to the step where it is stopped or killed. A call
 * that the arbiter has taken back, because no lane came for it in time, does not come to
 * the steps of the fast path. Returns that lane's process, and the id of the call. */
static pid_t hit(rig *r, int fd, uint32_t budget_ms, uint64_t *id) {
    uint64_t until_ns = dirty_now_ns() + WAIT_MS * DIRTY_NS_PER_MS;
    for (*id = 50;; ++*id) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        call(fd, *id, budget_ms);
        while (atomic_load(&orders->pid) == 0 && poll(&p, 1, 1) == 0)
            assert_true(dirty_now_ns() < until_ns);
        /* some steps come behind the answer */
        uint64_t behind_ns = dirty_now_ns() + BEHIND_MS * DIRTY_NS_PER_MS;
        while (atomic_load(&orders->pid) == 0 && dirty_now_ns() < behind_ns)
            poll(NULL, 0, 1);
        if (atomic_load(&orders->pid) != 0)
            return atomic_load(&orders->pid);
        rig_expect_value(fd, *id);
        if (dirty_now_ns() > until_ns) {
            printf("status: %s\n", rig_status(r));
            fail_msg("no lane came to the step %s", orders->step);
        }
    }
}

/* The dead worker has been replaced, and its replacement serves. */
static void wait_replaced(rig *r, unsigned long long respawns) {
    uint64_t until_ns = dirty_now_ns() + WAIT_MS * DIRTY_NS_PER_MS;
    while (counter(r, "respawns") < respawns) {
        assert_true(dirty_now_ns() < until_ns);
        poll(NULL, 0, 1);
    }
    rig_wait_status(r, "\"ready\":true");
}

/* How a request ended. */
typedef enum fate { VALUE = 1, LOST_NO = 2, LOST_YES = 4, ENDED = 8, LATE = 16 } fate;

static fate read_fate(int fd, uint64_t id) {
    dirty_frame f;
    uint8_t *payload = NULL;
    if (rig_read(fd, &f, &payload) <= 0)
        return ENDED;
    assert_true(f.id == id);
    fate how = VALUE;
    if (f.type == DIRTY_FRAME_ERROR) {
        dirty_error e;
        assert_int_equal(dirty_error_decode(payload, f.payload_len, &e), DIRTY_WIRE_OK);
        bool no = memmem(e.details.base, e.details.len, "\"started\":\"no\"", 14) != NULL;
        assert_true(e.code == DIRTY_CODE_WORKER_LOST || e.code == DIRTY_CODE_TIMEOUT);
        how = e.code == DIRTY_CODE_TIMEOUT ? LATE : no ? LOST_NO : LOST_YES;
    }
    free(payload);
    return how;
}

static void expect_fate(int fd, uint64_t id, unsigned allowed, const char *step) {
    fate how = read_fate(fd, id);
    if ((how & allowed) == 0)
        fail_msg("a lane that ended at %s: fate %d, allowed %u", step, how, allowed);
}

static void expect_service(rig *r, int fd) {
    for (uint64_t id = 100; id < 104; id++) {
        call(fd, id, 0);
        rig_expect_value(fd, id);
    }
    assert_int_equal(counter(r, "length"), 0);
}

static const struct {
    const char *step;
    unsigned killed; /* what may become of a request whose lane is killed there */
    bool direct;     /* only of a request that a lane took itself */
    bool general;    /* only of one that the arbiter sent */
} steps[] = {
    /* woken: the arbiter may take the request back and send it to the dead lane, before
     * it hears of the death; idle: it may be a lane that has just answered the last
     * request, and has the next one */
    {"woken", VALUE | LOST_NO, true, false}, {"claimed", VALUE, true, false},
    {"announced", VALUE, true, false},       {"taken", VALUE, true, false},
    {"received", LOST_NO, true, false},      {"running", LOST_YES, false, false},
    {"writing", ENDED, false, false},        {"answered", VALUE, false, false},
    {"released", VALUE, true, false},        {"counted", VALUE, false, false},
    {"unsaid", VALUE, false, true},          {"idle", VALUE | LOST_NO, false, false},
};
#define STEPS (sizeof steps / sizeof *steps)

static void kill_at_each_step(uint32_t workers, bool fast_path) {
    rig r;
    start(&r, workers, fast_path);
    for (size_t i = 0; i < STEPS; i++) {
        uint64_t id;
        if (steps[i].direct ? !fast_path : steps[i].general && fast_path)
            continue;
        int fd = fast_path ? share(&r) : rig_connect(&r);
        unsigned long long direct = counter(&r, "direct");
        unsigned long long respawns = counter(&r, "respawns");
        arm(steps[i].step, SIGKILL);
        hit(&r, fd, 0, &id);
        expect_fate(fd, id, steps[i].killed, steps[i].step);
        if (steps[i].killed == ENDED) {
            close(fd);
            fd = rig_connect(&r);
        }
        wait_replaced(&r, respawns + 1);
        expect_service(&r, fd);
        assert_true(!fast_path || counter(&r, "direct") >= direct);
        close(fd);
    }
    rig_stop(&r, 0);
}

static void a_lane_killed_at_each_step(void **state) {
    (void)state;
    kill_at_each_step(1, true);
}

static void one_of_two_lanes_killed_at_each_step(void **state) {
    (void)state;
    kill_at_each_step(2, true);
}

static void the_general_path_too(void **state) {
    (void)state;
    kill_at_each_step(1, false);
}

/* A lane that dies with a part of a request: the rest comes later, and it is answered. */
static void a_part_of_a_request_survives_its_lane(void **state) {
    (void)state;
    rig r;
    start(&r, 2, true);
    for (size_t part = 1; part < 40;) {
        int fd = share(&r);
        unsigned long long respawns = counter(&r, "respawns");
        uint8_t *bytes;
        size_t len = rig_request(&bytes, 90, "apps.echo", "noop", 0, 0);
        arm("received", SIGKILL);
        rig_send(fd, bytes, part);
        uint64_t until_ns = dirty_now_ns() + BEHIND_MS * DIRTY_NS_PER_MS;
        while (atomic_load(&orders->pid) == 0 && dirty_now_ns() < until_ns)
            poll(NULL, 0, 1);
        int one =
            1; /* a slow lane: the arbiter has taken the request back before it came */
        bool unhurt = atomic_compare_exchange_strong(&orders->armed, &one, 0);
        if (!unhurt)
            wait_replaced(&r, respawns + 1);
        rig_send(fd, bytes + part, len - part);
        free(bytes);
        rig_expect_value(fd, 90);
        close(fd);
        part += unhurt ? 0 : 6;
    }
    rig_stop(&r, 0);
}

/* A lane that stands still must not outlast the caller's budget: another lane serves, or
 * the caller is told in time. */
static void a_lane_stopped_at_each_step(void **state) {
    (void)state;
    rig r;
    start(&r, 2, true);
    for (size_t i = 0; i < STEPS; i++) {
        uint64_t id;
        if (steps[i].general)
            continue;
        int fd = share(&r);
        arm(steps[i].step, SIGSTOP);
        pid_t pid = hit(&r, fd, 300, &id);
        expect_fate(fd, id, VALUE | LATE | LOST_NO | LOST_YES | ENDED, steps[i].step);
        kill(pid, SIGCONT);
        int other = rig_connect(&r);
        expect_service(&r, other);
        close(other);
        close(fd);
    }
    rig_stop(&r, 0);
}

/* The arbiter looks at the first request of a new lane while the lane notes its arrival.
 * The deadline counts from there, not from a time that the page does not have yet. */
static void the_first_request_of_a_new_lane(void **state) {
    (void)state;
    rig r;
    uint64_t id;
    start(&r, 1, true);
    int fd = share(&r);
    arm("idle", SIGKILL);
    hit(&r, fd, 0, &id);
    rig_expect_value(fd, id);
    wait_replaced(&r, 1);
    arm("noted", SIGSTOP);
    pid_t pid = hit(&r, fd, 30000, &id);
    free(rig_status(&r)); /* adopts what runs */
    kill(pid, SIGCONT);
    rig_expect_value(fd, id);
    close(fd);
    rig_stop(&r, 0);
}

/* The caller hangs up while its lane stands between two steps. */
static void a_caller_that_leaves_at_each_step(void **state) {
    (void)state;
    rig r;
    start(&r, 2, true);
    for (size_t i = 0; i < STEPS; i++) {
        uint64_t id;
        if (steps[i].general)
            continue;
        int fd = share(&r);
        arm(steps[i].step, SIGSTOP);
        pid_t pid = hit(&r, fd, 0, &id);
        close(fd);
        kill(pid, SIGCONT);
        rig_wait_status(&r, "\"sessions\":1,"); /* of the status itself */
        int other = rig_connect(&r);
        expect_service(&r, other);
        close(other);
    }
    assert_int_equal(counter(&r, "killed"), 0);
    rig_stop(&r, 0);
}

/* What lanes can't serve themselves: pieces, several at once, other apps, long ones. */
static void requests_that_go_back_to_the_arbiter(void **state) {
    (void)state;
    rig r;
    start(&r, 2, true);
    int fd = share(&r);
    uint8_t *bytes;
    size_t len = rig_request(&bytes, 60, "apps.echo", "noop", 0, 0);
    for (size_t i = 0; i < len; i++) { /* a byte at a time */
        rig_send(fd, bytes + i, 1);
        poll(NULL, 0, 1);
    }
    rig_expect_value(fd, 60);
    free(bytes);
    fd = share(&r);
    uint8_t two[400];
    size_t at = 0;
    for (uint64_t id = 61; id < 64; id++) { /* three in one piece */
        len = rig_request(&bytes, id, "apps.echo", "noop", 0, 0);
        memcpy(two + at, bytes, len);
        at += len;
        free(bytes);
    }
    rig_send(fd, two, at);
    for (uint64_t id = 61; id < 64; id++)
        rig_expect_value(fd, id);
    fd = share(&r);
    len = rig_request(&bytes, 64, "apps.echo", "echo", 0, 300000);
    rig_send(fd, bytes, len);
    free(bytes);
    rig_expect_value(fd, 64);
    fd = share(&r);
    rig_call(fd, 65, "no.such.app", "x");
    free(rig_expect_error(fd, 65, DIRTY_CODE_APP_NOT_FOUND));
    rig_call(fd, 66, "@arbiter", "ping");
    rig_expect_value(fd, 66);
    expect_service(&r, fd);
    assert_true(counter(&r, "bounced") >= 4);
    rig_stop(&r, 0);
}

/* The only shared connection ends, and at once there is another: lanes that have stopped
 * to wait for shared connections begin again. */
static void one_shared_connection_after_another(void **state) {
    (void)state;
    rig r;
    start(&r, 1, true);
    for (int i = 0; i < 50; i++) {
        int fd = rig_connect(&r);
        for (uint64_t id = 1; id < 6; id++) {
            call(fd, id, 0);
            rig_expect_value(fd, id);
        }
        close(fd);
    }
    close(share(&r)); /* and lanes still take requests themselves */
    rig_stop(&r, 0);
}

/* Lanes tell the arbiter of each call whose deadline is near. It adopts what runs,
 * however late it comes to that: the lane may be at the next request by then. */
static void calls_with_near_deadlines(void **state) {
    (void)state;
    rig r;
    start(&r, 2, true);
    int fds[4];
    for (int i = 0; i < 4; i++)
        fds[i] = share(&r);
    for (uint64_t id = 1000; id < 2000; id++) {
        for (int i = 0; i < 4; i++)
            call(fds[i], id, 450);
        for (int i = 0; i < 4; i++)
            rig_expect_value(fds[i], id);
    }
    assert_int_equal(counter(&r, "killed"), 0);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    rig_stop(&r, 0);
}

/* Stop the arbiter until lanes know that it is silent. */
static void stop_arbiter(rig *r) {
    uint64_t until_ns = dirty_now_ns() + 2 * SILENCE_MS * DIRTY_NS_PER_MS;
    kill(r->pid, SIGSTOP);
    while (dirty_now_ns() < until_ns)
        poll(NULL, 0, 10);
}

/* Call an action of which a call with an argument lasts that many milliseconds. */
static void call_spin(int fd, uint64_t id, uint32_t budget_ms, const char *ms) {
    dirty_buf b = {0};
    dirty_route route = {.budget_ms = budget_ms,
                         .priority = 5,
                         .argc = 1,
                         .app = dirty_slice_cstr("apps.echo"),
                         .action = dirty_slice_cstr("spin")};
    dirty_request_encode_head(&b, id, &route, DIRTY_VALUE_HEAD_LEN + strlen(ms));
    dirty_value_append(&b, DIRTY_TAG_JSON, ms, (uint32_t)strlen(ms));
    rig_send(fd, b.base, b.len);
    dirty_buf_deinit(&b);
}

/* While the arbiter is stopped, a lane serves the calls that it can end itself: those of
 * an app that can be interrupted. The others wait for the arbiter. */
static void a_stopped_arbiter(void **state) {
    (void)state;
    rig r;
    prepare(&r, 1, true);
    r.apps[1] = r.apps[0];
    r.apps[1].name = "fixed";
    r.apps[1].interruptible = false;
    r.o.app_count = 2;
    r.o.arbiter_timeout_ms = SILENCE_MS;
    begin(&r);
    int soft = share(&r), fixed = share(&r);
    stop_arbiter(&r);
    for (uint64_t id = 2; id < 5; id++) {
        call(soft, id, 5000);
        rig_expect_value(soft, id);
    }
    uint64_t begun_ns = dirty_now_ns();
    call_spin(soft, 5, 300, "60000");
    free(rig_expect_error(soft, 5, DIRTY_CODE_TIMEOUT));
    assert_true(dirty_now_ns() - begun_ns >= 300 * DIRTY_NS_PER_MS);
    call_spin(soft, 6, 5000, "1"); /* the alarm is off: it ends no other call */
    rig_expect_value(soft, 6);
    struct pollfd p = {.fd = fixed, .events = POLLIN};
    rig_call(fixed, 7, "fixed", "noop");
    call(soft, 8, 5000); /* the same lane has seen both when it answers this one */
    rig_expect_value(soft, 8);
    assert_int_equal(poll(&p, 1, 0), 0);
    kill(r.pid, SIGCONT);
    rig_expect_value(fixed, 7);
    close(soft);
    close(fixed);
    rig_stop(&r, 0);
}

/* Many callers whose first requests have to be queued: they come to the fast path. */
static void many_callers_leave_the_queue(void **state) {
    (void)state;
    rig r;
    start(&r, 2, true);
    enum { CALLERS = 300, ROUNDS_MAX = 60 }; /* three, where no look disturbs them */
    static int fds[CALLERS];
    uint64_t id = 0, until_ns = dirty_now_ns() + WAIT_MS * DIRTY_NS_PER_MS;
    for (int i = 0; i < CALLERS; i++)
        fds[i] = rig_connect(&r);
    for (unsigned long long direct = 0, before; direct < CALLERS * 9 / 10;) {
        assert_true(dirty_now_ns() < until_ns && id < ROUNDS_MAX);
        before = counter(&r, "direct");
        id++;
        for (int i = 0; i < CALLERS; i++)
            call(fds[i], id, 0);
        for (int i = 0; i < CALLERS; i++)
            rig_expect_value(fds[i], id);
        direct = counter(&r, "direct") - before;
    }
    for (int i = 0; i < CALLERS; i++)
        close(fds[i]);
    rig_stop(&r, 0);
}

/* More callers than lanes, whose calls take a moment: they wait in the kernel for less
 * than the arbiter's patience, so it leaves them there, and does not queue all that wait
 * at some look. */
static void who_waits_for_a_moment_is_not_queued(void **state) {
    (void)state;
    rig r;
    start(&r, 2, true);
    enum { CALLERS = 24, ROUNDS = 15 };
    int fds[CALLERS];
    uint64_t id = 1000, until_ns = dirty_now_ns() + WAIT_MS * DIRTY_NS_PER_MS;
    for (int i = 0; i < CALLERS; i++)
        fds[i] = share(&r);
    for (unsigned long long direct = 0, before; direct < CALLERS * ROUNDS * 9 / 10;) {
        if (dirty_now_ns() > until_ns)
            fail_msg("%llu of %d calls took the fast path", direct, CALLERS * ROUNDS);
        before = counter(&r, "direct");
        for (int k = 0; k < ROUNDS; k++) {
            id++;
            for (int i = 0; i < CALLERS; i++)
                nap(fds[i], id);
            for (int i = 0; i < CALLERS; i++)
                rig_expect_value(fds[i], id);
        }
        direct = counter(&r, "direct") - before;
    }
    for (int i = 0; i < CALLERS; i++)
        close(fds[i]);
    rig_stop(&r, 0);
}

/* A request and the end of the caller's sending side: the answer, then the end. */
static void a_half_closed_caller_gets_its_answer(void **state) {
    (void)state;
    rig r;
    start(&r, 1, true);
    for (int i = 0; i < 20; i++) {
        int fd = share(&r);
        call(fd, 70, 0);
        shutdown(fd, SHUT_WR);
        rig_expect_value(fd, 70);
        rig_expect_end(fd);
        close(fd);
    }
    rig_stop(&r, 0);
}

/* A stop while callers are shared: each is closed, none is left without an answer. */
static void a_stop_takes_the_connections_back(void **state) {
    (void)state;
    rig r;
    start(&r, 2, true);
    int fds[8];
    for (int i = 0; i < 8; i++)
        fds[i] = share(&r);
    for (int i = 0; i < 8; i++)
        call(fds[i], 80, 0);
    kill(r.pid, SIGTERM);
    for (int i = 0; i < 8; i++) {
        dirty_frame f;
        uint8_t *payload = NULL;
        int got = rig_read(fds[i], &f, &payload);
        assert_true(got >= 0);
        free(payload);
        if (got > 0)
            rig_expect_end(fds[i]);
        close(fds[i]);
    }
    int status;
    assert_int_equal(waitpid(r.pid, &status, 0), r.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    r.pid = 0;
    rmdir(r.dir);
}

static void many_lanes(void **state) {
    (void)state;
    rig r;
    start(&r, 32, true);
    int fds[64];
    for (int i = 0; i < 64; i++)
        fds[i] = rig_connect(&r);
    for (uint64_t id = 1; id < 40; id++) {
        for (int i = 0; i < 64; i++)
            call(fds[i], id, 0);
        for (int i = 0; i < 64; i++)
            rig_expect_value(fds[i], id);
    }
    assert_true(counter(&r, "direct") > 64 * 20);
    for (int i = 0; i < 64; i++)
        close(fds[i]);
    rig_stop(&r, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lane_killed_at_each_step),
        cmocka_unit_test(one_of_two_lanes_killed_at_each_step),
        cmocka_unit_test(the_general_path_too),
        cmocka_unit_test(a_part_of_a_request_survives_its_lane),
        cmocka_unit_test(a_lane_stopped_at_each_step),
        cmocka_unit_test(the_first_request_of_a_new_lane),
        cmocka_unit_test(a_caller_that_leaves_at_each_step),
        cmocka_unit_test(requests_that_go_back_to_the_arbiter),
        cmocka_unit_test(one_shared_connection_after_another),
        cmocka_unit_test(calls_with_near_deadlines),
        cmocka_unit_test(a_stopped_arbiter),
        cmocka_unit_test(many_callers_leave_the_queue),
        cmocka_unit_test(who_waits_for_a_moment_is_not_queued),
        cmocka_unit_test(a_half_closed_caller_gets_its_answer),
        cmocka_unit_test(a_stop_takes_the_connections_back),
        cmocka_unit_test(many_lanes),
    };
    harness_choose_tests();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
