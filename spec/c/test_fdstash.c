/* A descriptor that is kept under way between two sockets. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/fdstash.h"

static void assert_closed(int fd) {
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
}

static void what_is_parked_is_open_nowhere_and_comes_back(void **state) {
    (void)state;
    int fds[2];
    char byte = 0;
    fdstash p;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fdstash_put(&p, fds[1]);
    assert_int_equal(p.fd, -1);
    assert_closed(fds[1]);
    int fd = fdstash_take(&p);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_closed(p.ends[0]);
    assert_closed(p.ends[1]);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(fdstash_take(&p), fd); /* it is not under way any more */
    close(fd);
    close(fds[0]);
}

/* Take out of a pair of sockets into which `len` bytes went, and no descriptor. */
static int take_bytes(size_t len, bool ended) {
    fdstash p = {.fd = -1};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p.ends), 0);
    if (len > 0)
        assert_int_equal(send(p.ends[1], "x", len, 0), len);
    if (ended)
        shutdown(p.ends[1], SHUT_WR);
    int rc = fdstash_take(&p);
    assert_int_equal(p.fd, -1);
    assert_closed(p.ends[0]);
    assert_closed(p.ends[1]);
    return rc;
}

static void what_is_lost_is_told_by_why(void **state) {
    (void)state;
    assert_int_equal(take_bytes(0, false), -EAGAIN);
    assert_int_equal(take_bytes(0, true), -EBADF);
    assert_int_equal(take_bytes(1, false), -EBADF);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_parked_is_open_nowhere_and_comes_back),
        cmocka_unit_test(what_is_lost_is_told_by_why),
    };
    return cmocka_run_group_tests_name("parked", tests, NULL, NULL);
}
