/* The arbiter at moments that a peer's timing or a shortage of the kernel brings about:
 * it is held inside a system call while callers leave and deadlines pass, and it can't
 * pass descriptors for a while.
 *
 * recv, sendmsg and clock_gettime of this program do as they are ordered, in the
 * arbiter's process alone. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#include "arbiter_rig.h"
#include "base/baton.h"
#include "base/clock.h"
#include "base/worker_start.h"
#include "wire/code.h"

#define PATIENCE_MS 10000

/* Shared with the arbiter. */
static struct orders {
    _Atomic int pid;    /* who obeys */
    _Atomic int hold;   /* 1: stay in the next recv, 2: there, 0: go on */
    _Atomic int pass;   /* so many messages with a descriptor go out */
    _Atomic int fail;   /* … then so many fail */
    _Atomic int errnum; /* … with this */
    _Atomic int failed;
    _Atomic int flood;               /* answers of id FLOOD that were sent */
    _Atomic int before;              /* … before the first of id OTHER was, and 1 */
    _Atomic(dirty_lane_page *) page; /* of the lane, at its place in arbiter and worker */
    _Atomic uint64_t begin_from_ns;  /* from then on the clock is looked at so often … */
    _Atomic int begin_at;            /* … until the lane begins; 0: it does not */
    _Atomic int begun;               /* it has */
    _Atomic int interrupted;         /* … and is interrupted */
} *orders;

static bool obeys(void) {
    return orders != NULL && atomic_load(&orders->pid) == getpid();
}

ssize_t recv(int fd, void *to, size_t len, int flags) {
    int wanted = 1;
    if (obeys() && atomic_compare_exchange_strong(&orders->hold, &wanted, 2))
        for (int ms = 0; atomic_load(&orders->hold) == 2 && ms < PATIENCE_MS; ms++)
            usleep(1000);
    return syscall(SYS_recvfrom, fd, to, len, flags, NULL, NULL);
}

#define FLOOD 77
#define OTHER 99

ssize_t send(int fd, const void *bytes, size_t len, int flags) {
    if (obeys() && len >= DIRTY_FRAME_HEADER_LEN) {
        uint8_t id = ((const uint8_t *)bytes)[DIRTY_FRAME_HEADER_LEN - 1];
        if (id == FLOOD)
            atomic_fetch_add(&orders->flood, 1);
        int none = 0;
        if (id == OTHER) /* the first: 1 more, so that 0 says none */
            atomic_compare_exchange_strong(&orders->before, &none,
                                           atomic_load(&orders->flood) + 1);
    }
    return syscall(SYS_sendto, fd, bytes, len, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags) {
    if (obeys() && m->msg_controllen > 0 && atomic_load(&orders->fail) > 0 &&
        atomic_fetch_sub(&orders->pass, 1) <= 0) {
        atomic_fetch_sub(&orders->fail, 1);
        atomic_fetch_add(&orders->failed, 1);
        errno = atomic_load(&orders->errnum);
        return -1;
    }
    return syscall(SYS_sendmsg, fd, m, flags);
}

/* In the lane's stead: from READING to RUNNING, which a lane may do at any moment. */
static void begin_lane(uint64_t now_ns) {
    dirty_lane_page *page = atomic_load(&orders->page);
    if (page == NULL)
        return; /* its worker is gone */
    uint64_t seq = atomic_load(&page->baton) >> 8;
    if (atomic_load(&orders->begun) && atomic_load(&page->interrupt) >> 8 == seq)
        atomic_store(&orders->interrupted, 1);
    if (atomic_load(&orders->begin_at) == 0 ||
        now_ns < atomic_load(&orders->begin_from_ns) ||
        atomic_fetch_sub(&orders->begin_at, 1) != 1)
        return;
    if (dirty_baton_move(page, seq, DIRTY_BATON_READING, DIRTY_BATON_RUNNING))
        atomic_store(&orders->begun, 1);
}

int munmap(void *at, size_t len) {
    dirty_lane_page *page = at;
    if (obeys())
        atomic_compare_exchange_strong(&orders->page, &page, NULL);
    return (int)syscall(SYS_munmap, at, len);
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    int rc = (int)syscall(SYS_clock_gettime, clock, t);
    if (rc == 0 && clock == CLOCK_MONOTONIC && obeys() &&
        atomic_load(&orders->begin_from_ns) != 0)
        begin_lane((uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec);
    return rc;
}

static int note_page(const dirty_worker_start *start) {
    atomic_store(&orders->page, start->pages[0]);
    return rig_worker_main(start);
}

static void start_as(rig *r, uint32_t workers) {
    r->o.workers = workers;
    r->o.worker_main = note_page;
    if (orders == NULL)
        orders =
            mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(orders, 0, sizeof *orders);
    rig_start(r);
    rig_wait_status(r, "\"state\":\"serving\"");
    atomic_store(&orders->pid, r->pid);
}

static void start(rig *r, uint32_t workers) {
    rig_init(r);
    start_as(r, workers);
}

static void fail_next(int count, int errnum) {
    atomic_store(&orders->errnum, errnum);
    atomic_store(&orders->fail, count);
}

/* A call on a connection of its own, without its answer. */
static int begin(const rig *r, uint64_t id, const char *action, uint32_t budget_ms) {
    uint8_t *bytes;
    int fd = rig_connect(r);
    size_t len = rig_request(&bytes, id, "t", action, budget_ms, 1);
    rig_send(fd, bytes, len);
    free(bytes);
    return fd;
}

/* -- Held in a system call --------------------------------------------------------- */

static void wait_too(const rig *r, int *others, uint32_t *count) {
    others[*count] = begin(r, 10 + *count, "value", 0);
    ++*count;
}

/* Among `before` and `after` others, a request waits whose caller leaves and whose
 * deadline passes while the arbiter sees neither. */
static void leave_late(uint32_t before, uint32_t after) {
    rig r;
    char queue[64];
    int others[8];
    uint32_t count = 0;
    start(&r, 1);
    int busy = begin(&r, 1, "hold-running", 0);
    pid_t worker = rig_wait_held(&r);
    for (uint32_t i = 0; i < before; i++)
        wait_too(&r, others, &count);
    snprintf(queue, sizeof queue, "\"queue\":{\"length\":%u,", count);
    rig_wait_status(&r, queue);
    uint64_t deadline_ns = dirty_now_ns() + 300 * DIRTY_NS_PER_MS;
    int gone = begin(&r, 2, "value", 250);
    for (uint32_t i = 0; i < after; i++)
        wait_too(&r, others, &count);
    snprintf(queue, sizeof queue, "\"queue\":{\"length\":%u,", count + 1);
    rig_wait_status(&r, queue);

    atomic_store(&orders->hold, 1);
    int any = begin(&r, 3, "value", 0);
    while (atomic_load(&orders->hold) != 2)
        usleep(1000);
    close(gone);
    while (dirty_now_ns() < deadline_ns)
        usleep(1000);
    atomic_store(&orders->hold, 0);

    snprintf(queue, sizeof queue, "\"queue\":{\"length\":%u,", count + 1); /* `any` too */
    rig_wait_status(&r, queue);
    kill(worker, SIGKILL);
    for (uint32_t i = 0; i < count; i++) {
        rig_expect_value(others[i], 10 + i);
        close(others[i]);
    }
    rig_expect_value(any, 3);
    rig_wait_status(&r, "\"queue\":{\"length\":0,");
    close(any);
    close(busy);
    rig_stop(&r, 0);
}

static void who_leaves_as_his_deadline_passes_ends_once(void **state) {
    (void)state;
    leave_late(0, 0);
    leave_late(0, 2);
    leave_late(2, 2);
    leave_late(2, 0);
}

/* Requests to the runtime itself cost its loop time: who sends many gets one answer a
 * turn, as everybody else. */
static void a_flood_of_pings_gets_one_answer_a_turn(void **state) {
    (void)state;
    rig r;
    uint8_t *ping, bytes[8000];
    start(&r, 1);
    size_t len = rig_request(&ping, FLOOD, "@arbiter", "ping", 0, 1), count = 0;
    for (; (count + 1) * len <= sizeof bytes; count++)
        memcpy(bytes + count * len, ping, len);
    free(ping);
    int flood = rig_connect(&r), other = rig_connect(&r);
    rig_expect_text(flood, 1, "t", "value", "null");
    rig_expect_text(other, 1, "t", "value", "null");

    atomic_store(&orders->hold, 1);
    int any = begin(&r, 3, "value", 0);
    while (atomic_load(&orders->hold) != 2)
        usleep(1000);
    rig_send(flood, bytes, count * len);
    rig_call(other, OTHER, "nobody", "answers");
    atomic_store(&orders->hold, 0);
    free(rig_expect_error(other, OTHER, DIRTY_CODE_APP_NOT_FOUND));
    assert_in_range(atomic_load(&orders->before), 1, 4);
    for (size_t i = 0; i < count; i++)
        rig_expect_value(flood, FLOOD);
    rig_expect_value(any, 3);
    close(flood);
    close(other);
    close(any);
    rig_stop(&r, 0);
}

/* -- A call that begins as its deadline passes -------------------------------------- */

#define BUDGET_MS 60
#define GRACE_MS 150

/* The lane begins when the arbiter looks at the clock for the `at`th time after the
 * deadline. Whether it began: then it had its grace, and was interrupted if the app
 * allows it. */
static bool begin_late(int at, bool interruptible) {
    rig r;
    rig_init(&r);
    r.o.timeout_grace_ms = GRACE_MS;
    r.apps[0].interruptible = interruptible;
    start_as(&r, 1);
    uint64_t sent_ns = dirty_now_ns();
    atomic_store(&orders->begin_at, at);
    atomic_store(&orders->begin_from_ns, sent_ns + BUDGET_MS * DIRTY_NS_PER_MS);
    int fd = begin(&r, 1, "hold-reading", BUDGET_MS);
    pid_t worker = rig_wait_held(&r);
    char *details = rig_expect_error(fd, 1, DIRTY_CODE_TIMEOUT);
    uint64_t took_ns = dirty_now_ns() - sent_ns;
    bool begun = atomic_load(&orders->begun);
    atomic_store(&orders->begin_from_ns, 0);
    assert_non_null(
        strstr(details, begun ? "\"started\":\"yes\"" : "\"started\":\"no\""));
    if (begun) {
        assert_int_equal(atomic_load(&orders->interrupted), interruptible);
        assert_true(took_ns >= (BUDGET_MS + GRACE_MS) * DIRTY_NS_PER_MS);
        rig_wait_status(&r, "\"killed\":1,");
    }
    free(details);
    kill(worker, SIGKILL);
    close(fd);
    rig_stop(&r, 0);
    return begun;
}

static void a_call_that_begins_late_has_its_grace(void **state) {
    int late = 0;
    (void)state;
    for (int at = 1; at <= 8; at++)
        late += begin_late(at, true);
    assert_in_range(late, 1, 8);
}

static void a_call_that_begins_late_may_be_one_that_is_not_interrupted(void **state) {
    (void)state;
    for (int at = 1; at <= 8; at++)
        begin_late(at, false);
}

/* -- Short of something ------------------------------------------------------------ */

static void a_shortage_of_the_kernel_is_no_fault_of_a_worker(void **state) {
    static const int errors[] = {ETOOMANYREFS, ENOBUFS, ENOMEM, EAGAIN};
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        rig r;
        start(&r, 2);
        fail_next(5, errors[i]);
        int one = begin(&r, 1, "value", 0), two = begin(&r, 2, "value", 0);
        rig_expect_value(one, 1);
        rig_expect_value(two, 2);
        assert_int_equal(atomic_load(&orders->failed), 5);
        rig_wait_status(&r, "\"killed\":0,");
        close(one);
        close(two);
        rig_stop(&r, 0);
    }
}

static void a_shortage_that_lasts_ends_calls_at_their_deadline(void **state) {
    (void)state;
    rig r;
    start(&r, 1);
    fail_next(1000000, ETOOMANYREFS);
    int fd = begin(&r, 1, "value", 200);
    free(rig_expect_error(fd, 1, DIRTY_CODE_TIMEOUT));
    fail_next(0, 0);
    rig_expect_text(fd, 2, "t", "value", "null");
    rig_wait_status(&r, "\"killed\":0,");
    close(fd);
    rig_stop(&r, 0);
}

/* One lane gives the request back, the next can't be reached: the third is tried. */
static void a_request_given_back_tries_every_idle_lane(void **state) {
    (void)state;
    rig r;
    start(&r, 3);
    atomic_store(&orders->pass, 1);
    fail_next(1, EPIPE);
    int fd = rig_connect(&r);
    rig_expect_text(fd, 1, "t", "returned", "1"); /* of the first generation */
    assert_int_equal(atomic_load(&orders->failed), 1);
    rig_wait_status(&r, "\"requeued\":1,");
    close(fd);
    rig_stop(&r, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_leaves_as_his_deadline_passes_ends_once),
        cmocka_unit_test(a_flood_of_pings_gets_one_answer_a_turn),
        cmocka_unit_test(a_call_that_begins_late_has_its_grace),
        cmocka_unit_test(a_call_that_begins_late_may_be_one_that_is_not_interrupted),
        cmocka_unit_test(a_shortage_of_the_kernel_is_no_fault_of_a_worker),
        cmocka_unit_test(a_shortage_that_lasts_ends_calls_at_their_deadline),
        cmocka_unit_test(a_request_given_back_tries_every_idle_lane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
