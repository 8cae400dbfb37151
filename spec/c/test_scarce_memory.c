/* The arbiter when allocations fail, each in turn and many in a row: callers get their
 * own answer or the end of their connection, and afterwards everything works.
 *
 * The allocator of this program fails on demand, in the arbiter's process alone. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#include "arbiter_rig.h"
#include "wire/code.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

int main(void) {
    printf("[  SKIPPED ] the sanitizers have an allocator of their own\n");
    return 0;
}

#else

/* Shared with the arbiter: who fails, how many allocations go well before, how many fail.
 */
static struct orders {
    _Atomic int pid;
    _Atomic int good, bad;
    _Atomic int failed;
} *orders;

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

static bool fails(void) {
    if (orders == NULL || atomic_load(&orders->pid) != getpid())
        return false;
    if (atomic_fetch_sub(&orders->good, 1) > 0 || atomic_fetch_sub(&orders->bad, 1) <= 0)
        return false;
    atomic_fetch_add(&orders->failed, 1);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size) {
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t size) {
    return fails() ? NULL : __libc_realloc(p, size);
}

static void fail_after(const rig *r, int good, int bad) {
    atomic_store(&orders->failed, 0);
    atomic_store(&orders->good, good);
    atomic_store(&orders->bad, bad);
    atomic_store(&orders->pid, r->pid);
}

/* No more. Returns how many have failed. */
static int relent(void) {
    atomic_store(&orders->pid, 0);
    return atomic_load(&orders->failed);
}

/* -- Callers who may be disappointed ---------------------------------------------------
 */

/* A frame with this id, or the end. An error must be one that memory explains. */
static bool expect_own_or_end(int fd, uint64_t id) {
    dirty_frame f;
    uint8_t *payload;
    if (rig_read(fd, &f, &payload) != 1)
        return false;
    assert_int_equal(f.id, id);
    free(payload);
    return true;
}

static void try_to_send(int fd, const void *bytes, size_t len) {
    while (send(fd, bytes, len, MSG_NOSIGNAL) < 0 && errno == EINTR)
        continue;
}

static void call_and_see(int fd, uint64_t id, const char *app, const char *action,
                         size_t payload) {
    uint8_t *request;
    size_t len = rig_request(&request, id, app, action, 5000, payload);
    try_to_send(fd, request, len);
    free(request);
}

/* Requests of all kinds: in one piece and in two, one behind the other, waiting, refused,
 * to the arbiter itself, larger than the arbiter takes. */
static void visit(const rig *r) {
    int whole = rig_connect(r), halves = rig_connect(r), other = rig_connect(r);
    uint8_t *request;
    call_and_see(whole, 1, "t", "slow", 10);
    call_and_see(whole, 2, "t", "value", 10);
    call_and_see(other, 4, "t", "value", 20000);
    size_t len = rig_request(&request, 3, "t", "value", 5000, 3000);
    try_to_send(halves, request, len / 2);
    usleep(2000);
    try_to_send(halves, request + len / 2, len - len / 2);
    free(request);
    if (expect_own_or_end(whole, 1))
        expect_own_or_end(whole, 2);
    expect_own_or_end(halves, 3);
    if (expect_own_or_end(other, 4)) {
        call_and_see(other, 5, "no-such-app", "x", 0);
        if (expect_own_or_end(other, 5)) {
            call_and_see(other, 6, "@arbiter", "status", 0);
            expect_own_or_end(other, 6);
        }
    }
    close(whole);
    close(halves);
    close(other);
}

static void expect_health(rig *r) {
    int fd = rig_connect(r), wait_status;
    assert_int_equal(waitpid(r->pid, &wait_status, WNOHANG), 0);
    rig_call(fd, 9, "t", "value");
    rig_expect_value(fd, 9);
    close(fd);
    rig_wait_status(r, "\"sessions\":1,");
}

/* Each allocation of a fresh arbiter's first calls fails once. */
static void one_at_a_time(void **state) {
    (void)state;
    int n = 0, failed;
    do {
        rig r;
        rig_init(&r);
        rig_start(&r);
        rig_wait_status(&r, "\"state\":\"serving\"");
        fail_after(&r, n++, 1);
        visit(&r);
        failed = relent();
        expect_health(&r);
        rig_stop(&r, 0);
    } while (failed > 0);
    assert_true(n > 10);
}

static void many_in_a_row(void **state) {
    rig *r = *state;
    rig_start(r);
    expect_health(r);
    for (int n = 0; n < 30; n++) {
        fail_after(r, n, 4);
        visit(r);
        relent();
    }
    expect_health(r);
    rig_stop(r, 0);
}

/* A worker that dies meanwhile is replaced once there is memory again. */
static void while_a_worker_is_replaced(void **state) {
    rig *r = *state;
    rig_start(r);
    expect_health(r);
    for (int n = 0; n < 12; n++) {
        int fd = rig_connect(r);
        fail_after(r, n, 1);
        rig_call(fd, 1, "t", "exit");
        expect_own_or_end(fd, 1);
        close(fd);
        visit(r);
        relent();
        expect_health(r);
    }
    rig_stop(r, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_at_a_time),
        RIG_TEST(many_in_a_row),
        RIG_TEST(while_a_worker_is_replaced),
    };
    orders = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
