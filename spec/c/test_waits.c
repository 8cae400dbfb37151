/* What keeps supervisor, keeper and arbiter from waiting in a system call: patience, the
 * refusal of descriptors, captured output. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter_rig.h"
#include "base/capture.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/patience.h"

/* Nothing here may take as long. */
#define LONG_MS 20000

static uint64_t ms_since(uint64_t at_ns) {
    return (dirty_now_ns() - at_ns) / DIRTY_NS_PER_MS;
}

/* Run the test in a child, as it changes what is of the process. */
static void in_child(void (*run)(void)) {
    int wait_status;
    pid_t pid = fork();
    if (pid == 0) {
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_int_equal(wait_status, 0);
}

/* -- Patience ---------------------------------------------------------------------------
 */

static void read_impatiently(void) {
    char byte;
    int fds[2];
    sigset_t all;
    /* whoever started us may have set anything */
    signal(SIGALRM, SIG_IGN);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    assert_int_equal(pipe(fds), 0);
    dirty_patience_init();
    dirty_patience_begin(50);
    for (int i = 0; i < 3; i++) { /* each call of the work */
        uint64_t at_ns = dirty_now_ns();
        assert_int_equal(read(fds[0], &byte, 1), -1);
        assert_int_equal(errno, EINTR);
        assert_true(ms_since(at_ns) < LONG_MS);
    }
    dirty_patience_end();
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(read(fds[0], &byte, 1), 1);
}

static void patience_ends_what_waits(void **state) {
    (void)state;
    in_child(read_impatiently);
}

static void go_on(void) {
    char byte;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    dirty_patience_init();
    for (int i = 0; i < 10; i++) { /* longer than that in all */
        dirty_patience_begin(LONG_MS / 4);
        usleep(1000);
    }
    dirty_patience_begin(100);
    dirty_patience_end();
    pid_t pid = fork(); /* it has none of its own */
    if (pid == 0) {
        usleep(200000);
        _exit(write(fds[1], "x", 1) == 1 ? 0 : 1);
    }
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void patience_is_only_for_work_that_goes_on(void **state) {
    (void)state;
    in_child(go_on);
}

/* -- Descriptors that callers send
 * --------------------------------------------------------- */

/* A TCP socket whose close waits until its peer has read all, which it never does. */
static int lingering(int *listener, int *peer) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    static const char bytes[65536];
    const struct linger linger = {.l_onoff = 1, .l_linger = 2 * LONG_MS / 1000};
    int least = 4096, fd = socket(AF_INET, SOCK_STREAM, 0);
    *listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(*listener, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    assert_int_equal(bind(*listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(*listener, 1), 0);
    assert_int_equal(getsockname(*listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
    *peer = accept(*listener, NULL, NULL);
    assert_true(*peer >= 0);
    while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    return fd;
}

static void close_impatiently(void) {
    int listener, peer, fd = lingering(&listener, &peer);
    uint64_t at_ns = dirty_now_ns();
    dirty_patience_init();
    dirty_patience_begin(50);
    close(fd);
    assert_true(ms_since(at_ns) < LONG_MS);
}

static void patience_ends_the_close_of_a_socket_that_lingers(void **state) {
    (void)state;
    in_child(close_impatiently);
}

/* The kernel drops what comes with bytes that are read by recv: in the reader's time. */
static void a_caller_that_sends_descriptors_holds_up_nobody(void **state) {
    rig *r = *state;
    int listener, peer, stuck = lingering(&listener, &peer);
    uint8_t *request;
    rig_start(r);
    size_t len = rig_request(&request, 1, "t", "value", 0, 0);
    struct iovec part = {request, len};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    dirty_fdpass_room room;
    int hostile = rig_connect(r), fd = rig_connect(r);
    dirty_fdpass_attach(&m, &room, &stuck, 1);
    ssize_t sent = sendmsg(hostile, &m, MSG_NOSIGNAL);
    assert_true(sent == (ssize_t)len ||
                errno == EPERM); /* the latter from Linux 6.16 on */
    close(stuck);
    uint64_t at_ns = dirty_now_ns();
    rig_call(fd, 2, "t", "value");
    rig_expect_value(fd, 2); /* within 10 s */
    assert_true(ms_since(at_ns) < LONG_MS / 4);
    free(request);
    close(hostile);
    close(fd);
    close(peer);
    close(listener);
    rig_stop(r, 0);
}

/* -- Captured output --------------------------------------------------------------------
 */

static void fill(int fd) {
    static const char bytes[4096];
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    while (write(fd, bytes, sizeof bytes) > 0)
        continue;
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
}

static size_t drain(int fd) {
    static char bytes[65536];
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, bytes, sizeof bytes)) > 0)
        len += (size_t)n;
    return len;
}

/* stdout is a pipe that is full and that nobody reads. */
static void print_much(void) {
    int full[2], ours[2], theirs[2];
    assert_int_equal(pipe(full), 0);
    fill(full[1]);
    dup2(full[1], STDOUT_FILENO);
    assert_int_equal(dirty_capture_open(), 0);
    assert_int_equal(dirty_capture_open(), 0); /* it is there */
    dirty_capture_ends(ours, theirs);
    for (int round = 0; round < 3; round++) {
        dirty_capture_begin();
        printf("some words\n");
        dirty_capture_end();
        assert_int_equal(drain(ours[0]), strlen("some words\n"));
        assert_int_equal(drain(ours[1]), 0);
        dirty_capture_begin();
        for (int i = 0; i < 20000; i++)
            printf("%0100d\n", i); /* more than fits */
        dirty_capture_end();
        assert_true(drain(ours[0]) > 65536);
        fflush(stdout); /* nothing is left that would be written to the pipe of others */
    }
}

static void captured_output_waits_for_nobody(void **state) {
    (void)state;
    in_child(print_much);
}

/* What a crash says before and after is seen. */
static void print_around(void) {
    int before[2], ours[2], theirs[2];
    char text[64];
    assert_int_equal(pipe(before), 0);
    dup2(before[1], STDERR_FILENO);
    assert_int_equal(dirty_capture_open(), 0);
    dirty_capture_ends(ours, theirs);
    dirty_capture_begin();
    fprintf(stderr, "inside");
    dirty_capture_end();
    fprintf(stderr, "outside");
    assert_int_equal(read(before[0], text, sizeof text), strlen("outside"));
    assert_int_equal(drain(ours[1]), strlen("inside"));
}

static void what_is_printed_around_goes_where_it_went(void **state) {
    (void)state;
    in_child(print_around);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patience_ends_what_waits),
        cmocka_unit_test(patience_is_only_for_work_that_goes_on),
        cmocka_unit_test(patience_ends_the_close_of_a_socket_that_lingers),
        RIG_TEST(a_caller_that_sends_descriptors_holds_up_nobody),
        cmocka_unit_test(captured_output_waits_for_nobody),
        cmocka_unit_test(what_is_printed_around_goes_where_it_went),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
