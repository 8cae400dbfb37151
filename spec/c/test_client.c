/* Calls of a client that go well, and what it does with its connection around them. */
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "client_rig.h"

#define BIG (8u << 20)

/* -- Servers ------------------------------------------------------------------------ */

static void serve_echo(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd))
        fake_echo(f, fd);
}

static void serve_one_echo(fake *f, int fd, int number) {
    (void)number;
    if (fake_read_request(f, fd))
        fake_echo(f, fd);
}

/* -- Values ------------------------------------------------------------------------- */

static void test_values_come_back_as_they_went(void **state) {
    (void)state;
    rig r;
    const char *data;
    size_t len;
    rig_start(&r, serve_echo, NULL, 5000);
    dirty_request_add_bytes(r.request, "a\0b", 3);
    dirty_request_add_bytes(r.request, NULL, 0);
    dirty_request_add_json(r.request, "{\"a\":[1,2]}", 11);
    assert_int_equal(rig_call(&r), 0);
    assert_int_equal(dirty_reply_count(r.reply), 3);
    assert_int_equal(dirty_reply_value(r.reply, 0, &data, &len), DIRTY_BYTES);
    assert_int_equal(len, 3);
    assert_memory_equal(data, "a\0b", 4);
    assert_int_equal(dirty_reply_value(r.reply, 1, &data, &len), DIRTY_BYTES);
    assert_int_equal(len, 0);
    assert_int_equal(data[0], '\0');
    assert_int_equal(dirty_reply_value(r.reply, 2, &data, &len), DIRTY_JSON);
    assert_string_equal(data, "{\"a\":[1,2]}");
    assert_int_equal(dirty_reply_value(r.reply, 3, &data, &len), 0);
    assert_null(data);
    assert_int_equal(dirty_err(r.client), 0);
    assert_string_equal(dirty_errmsg(r.client), "");
    assert_string_equal(dirty_err_details(r.client), "{}");
    rig_stop(&r);
}

static void test_no_values_at_all(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_echo, NULL, 5000);
    assert_int_equal(rig_call(&r), 0);
    assert_int_equal(dirty_reply_count(r.reply), 0);
    rig_stop(&r);
}

static void test_as_many_values_as_there_can_be(void **state) {
    (void)state;
    static const unsigned counts[] = {4, 5, 64, 1000, UINT16_MAX};
    rig r;
    const char *data;
    size_t len;
    rig_start(&r, serve_echo, NULL, 10000);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        dirty_request_reset(r.request, "app", "action");
        char texts[UINT16_MAX][2];
        for (unsigned n = 0; n < counts[i]; n++) {
            texts[n][0] = (char)n;
            texts[n][1] = (char)(n >> 8);
            assert_int_equal(dirty_request_add_bytes(r.request, texts[n], n % 3), 0);
        }
        assert_int_equal(rig_call(&r), 0);
        assert_int_equal(dirty_reply_count(r.reply), counts[i]);
        for (unsigned n = 0; n < counts[i]; n++) {
            dirty_reply_value(r.reply, n, &data, &len);
            assert_int_equal(len, n % 3);
            assert_memory_equal(data, texts[n], n % 3);
        }
    }
    assert_int_equal(dirty_request_add_bytes(r.request, "", 0), DIRTY_EINVALID);
    rig_expect_failure(&r, DIRTY_EINVALID, "no", "65535");
    rig_stop(&r);
}

static void test_megabytes(void **state) {
    (void)state;
    rig r;
    char *big = malloc(BIG);
    uint64_t seed = harness_seed();
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)harness_random(&seed, 256);
    rig_start(&r, serve_echo, NULL, 20000);
    dirty_request_add_bytes(r.request, big, BIG);
    for (int i = 0; i < 3; i++)
        rig_expect_bytes(&r, big, BIG);
    assert_int_equal(r.server.connections, 1);
    rig_stop(&r);
    free(big);
}

/* Names that come from somebody else must not reach what this process may do. */
static void names_of_the_runtimes_own_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"@arbiter", "@", "@other"};
    rig r;
    dirty_stream *stream;
    dirty_request *made;
    rig_start(&r, serve_echo, NULL, 4000);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(dirty_request_reset(r.request, names[i], "stop"), 0);
        assert_int_equal(dirty_request_add_integer(r.request, 1), 0);
        rig_expect_failure(&r, DIRTY_EDENIED, "no", "dirty_request_new_arbiter");
        assert_int_equal(dirty_stream_open(r.client, r.request, &stream), DIRTY_EDENIED);
        assert_null(stream);
        assert_int_equal(dirty_callf(r.client, &r.reply, names[i], "stop", ""),
                         DIRTY_EDENIED);
        assert_non_null(strstr(dirty_errmsg(r.client), names[i]));
        assert_int_equal(dirty_request_new(&made, names[i], "stop"), 0);
        assert_int_equal(dirty_call(r.client, made, &r.reply), DIRTY_EDENIED);
        dirty_request_free(made);
    }
    assert_int_equal(r.server.connections, 0);
    /* the request is another one after that */
    dirty_request_reset(r.request, "app", "action");
    dirty_request_add_bytes(r.request, "x", 1);
    rig_expect_bytes(&r, "x", 1);
    rig_stop(&r);
}

static void the_arbiter_is_asked_by_functions_of_its_own(void **state) {
    (void)state;
    rig r;
    dirty_request *made;
    rig_start(&r, serve_echo, NULL, 4000);
    assert_int_equal(dirty_request_new_arbiter(&made, "status"), 0);
    assert_int_equal(dirty_call(r.client, made, &r.reply), 0);
    assert_true(dirty_slice_equals(r.server.route.app, "@arbiter", 8));
    assert_true(dirty_slice_equals(r.server.route.action, "status", 6));
    dirty_request_free(made);
    assert_int_equal(dirty_request_new_arbiter(&made, "two words"), DIRTY_EINVALID);
    assert_null(made);
    assert_int_equal(dirty_request_new_arbiter(&made, NULL), DIRTY_EINVALID);
    assert_int_equal(dirty_request_reset_arbiter(r.request, ""), DIRTY_EINVALID);
    assert_int_equal(dirty_request_reset_arbiter(NULL, "status"), DIRTY_EINVALID);
    rig_stop(&r);
}

static void test_head_of_a_request(void **state) {
    (void)state;
    rig r;
    const char *data;
    size_t len;
    rig_start(&r, serve_echo, NULL, 4000);
    uint64_t begun_ns = dirty_now_ns();
    assert_int_equal(dirty_request_reset_arbiter(r.request, "status"), 0);
    dirty_request_set_metadata(r.request, "{\"old\":1}", 9);
    dirty_request_add_bytes(r.request, "x", 1);
    dirty_request_set_metadata(r.request, "{\"t\":1}", 7);
    dirty_request_set_priority(r.request, 9);
    assert_int_equal(rig_call(&r), 0);
    assert_int_equal(r.server.route.priority, 9);
    assert_true(dirty_slice_equals(r.server.route.app, "@arbiter", 8));
    assert_true(dirty_slice_equals(r.server.route.action, "status", 6));
    assert_int_equal(r.server.route.argc, 1);
    assert_in_range(r.server.route.budget_ms, 3000, 4000);
    assert_in_range(r.server.route.extension.deadline_ns,
                    begun_ns + 4000 * DIRTY_NS_PER_MS,
                    dirty_now_ns() + 4000 * DIRTY_NS_PER_MS);
    assert_int_equal(dirty_reply_count(r.reply), 2);
    dirty_reply_value(r.reply, 0, &data, &len);
    assert_string_equal(data, "{\"t\":1}");

    dirty_request_set_budget_ms(r.request, 700);
    dirty_request_set_metadata(r.request, NULL, 0);
    assert_int_equal(rig_call(&r), 0);
    assert_in_range(r.server.route.budget_ms, 1, 700);
    assert_in_range(r.server.route.extension.deadline_ns,
                    begun_ns + 700 * DIRTY_NS_PER_MS,
                    dirty_now_ns() + 700 * DIRTY_NS_PER_MS);
    assert_int_equal(r.server.route.flags, DIRTY_FLAG_EXTENSION);
    assert_int_equal(dirty_reply_count(r.reply), 1);

    dirty_request_reset(r.request, "app", "action");
    assert_int_equal(rig_call(&r), 0);
    assert_int_equal(r.server.route.priority, DIRTY_PRIORITY_DEFAULT);
    assert_in_range(r.server.route.budget_ms, 3000, 4000);
    assert_int_equal(r.server.route.argc, 0);
    rig_stop(&r);
}

/* -- The connection ----------------------------------------------------------------- */

static void test_a_connection_is_kept(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_echo, NULL, 5000);
    dirty_request_add_bytes(r.request, "x", 1);
    assert_int_equal(r.server.connections, 0);
    for (int i = 0; i < 100; i++)
        rig_expect_bytes(&r, "x", 1);
    assert_int_equal(r.server.connections, 1);
    dirty_close(r.client);
    rig_expect_bytes(&r, "x", 1);
    assert_int_equal(r.server.connections, 2);
    rig_stop(&r);
}

/* What the caller starts would hold the connection open, and could use it. */
static void test_a_connection_is_not_passed_on(void **state) {
    (void)state;
    rig r;
    int before = fake_count_passed_on(), open = rig_count_descriptors();
    rig_start(&r, serve_echo, NULL, 5000);
    dirty_request_add_bytes(r.request, "x", 1);
    rig_expect_bytes(&r, "x", 1);
    assert_true(rig_count_descriptors() > open);
    assert_int_equal(fake_count_passed_on(), before);
    rig_stop(&r);
}

static void test_a_connection_closed_while_idle_is_reopened(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_one_echo, NULL, 5000);
    dirty_request_add_bytes(r.request, "x", 1);
    for (int i = 1; i <= 20; i++) {
        rig_expect_bytes(&r, "x", 1);
        assert_int_equal(r.server.connections, i);
        fake_await_closed(&r.server, i);
    }
    rig_stop(&r);
}

/* Answers, then reads no more: a later send fails though the connection looks idle. */
static void serve_deaf(fake *f, int fd, int number) {
    if (!fake_read_request(f, fd))
        return;
    if (number == 1)
        shutdown(fd, SHUT_RD);
    fake_echo(f, fd);
    /* Long enough for the client to try; should it be slower, it finds the end instead.
     */
    if (number == 1)
        usleep(50000);
}

static void test_a_first_write_that_fails_is_done_again(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_deaf, NULL, 5000);
    dirty_request_add_bytes(r.request, "x", 1);
    rig_expect_bytes(&r, "x", 1);
    rig_expect_bytes(&r, "x", 1);
    assert_int_equal(r.server.connections, 2);
    assert_int_equal(r.server.requests, 2);
    rig_stop(&r);
}

/* Closes with the request unread, which the client's kernel calls a reset. */
static void serve_reset(fake *f, int fd, int number) {
    if (number <= *(int *)f->arg)
        fake_await_input(fd);
    else
        serve_one_echo(f, fd, number);
}

static void test_a_reset_before_any_answer_is_done_again_once(void **state) {
    (void)state;
    rig r;
    int resets = 1;
    rig_start(&r, serve_reset, &resets, 5000);
    dirty_request_add_bytes(r.request, "x", 1);
    rig_expect_bytes(&r, "x", 1);
    assert_int_equal(r.server.connections, 2);
    rig_stop(&r);

    resets = 3;
    rig_start(&r, serve_reset, &resets, 5000);
    rig_expect_failure(&r, DIRTY_ECONNECTION, "no", "before an answer arrived");
    assert_int_equal(r.server.connections, 2);
    rig_stop(&r);
}

static void serve_hang_ms(fake *f, int fd, int number) {
    (void)number;
    fake_read_request(f, fd);
}

static void test_an_end_before_any_answer_is_not_done_again(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_hang_ms, NULL, 5000);
    rig_expect_failure(&r, DIRTY_ECONNECTION, "unknown", "closed by the server");
    assert_int_equal(r.server.connections, 1);
    assert_int_equal(r.server.requests, 1);
    rig_stop(&r);
}

/* A second answer that nobody asked for. */
static void serve_twice(fake *f, int fd, int number) {
    if (!fake_read_request(f, fd))
        return;
    fake_echo_times(f, fd, 2);
    if (number == 1)
        fake_await_end(fd);
}

static void test_bytes_behind_an_answer_end_the_connection(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_twice, NULL, 5000);
    dirty_request_add_bytes(r.request, "x", 1);
    rig_expect_bytes(&r, "x", 1);
    dirty_request_reset(r.request, "app", "action");
    dirty_request_add_bytes(r.request, "another", 7);
    rig_expect_bytes(&r, "another", 7);
    assert_int_equal(r.server.connections, 2);
    rig_stop(&r);
}

/* -- Time --------------------------------------------------------------------------- */

static void serve_hold(fake *f, int fd, int number) {
    (void)number;
    fake_read_request(f, fd);
    fake_await_end(fd);
}

static void test_no_answer_in_time(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_hold, NULL, 100);
    uint64_t start = dirty_now_ns();
    rig_expect_failure(&r, DIRTY_ETIMEOUT, "unknown", "budget of 100 ms");
    uint64_t took_ms = (dirty_now_ns() - start) / DIRTY_NS_PER_MS;
    assert_in_range(took_ms, 2100, 15000);
    assert_non_null(strstr(dirty_err_details(r.client), "\"phase\":\"client\""));
    assert_non_null(strstr(dirty_err_details(r.client), "\"started\":\"unknown\""));
    assert_non_null(strstr(dirty_err_details(r.client), "\"app\":\"app\""));
    rig_stop(&r);
}

/* Sends a byte every 100 ms: each is in time, all are not. */
static void serve_trickle(fake *f, int fd, int number) {
    (void)number;
    static const uint8_t reply[] = {'D', 'W', 1, 2, 0, 0, 1, 0};
    fake_read_request(f, fd);
    for (size_t i = 0; i < sizeof reply; i++) {
        fake_send(fd, &reply[i], 1);
        usleep(100000);
    }
    fake_await_end(fd);
}

static void test_a_trickle_is_not_in_time(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_trickle, NULL, 100);
    uint64_t start = dirty_now_ns();
    rig_expect_failure(&r, DIRTY_ETIMEOUT, "unknown", "no answer");
    assert_in_range((dirty_now_ns() - start) / DIRTY_NS_PER_MS, 2100, 15000);
    rig_stop(&r);
}

/* The server's own TIMEOUT comes after the budget, within the margin. */
static void serve_late_error(fake *f, int fd, int number) {
    (void)number;
    if (!fake_read_request(f, fd))
        return;
    usleep(400000);
    fake_send_error(f, fd, 1, "app.action ran 100 ms",
                    "{\"started\":\"yes\",\"phase\":\"run\"}");
    fake_await_end(fd);
}

static void test_the_servers_own_timeout_arrives(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_late_error, NULL, 100);
    rig_expect_failure(&r, DIRTY_ETIMEOUT, "yes", "ran 100 ms");
    assert_string_equal(dirty_err_details(r.client),
                        "{\"started\":\"yes\",\"phase\":\"run\"}");
    rig_stop(&r);
}

static void serve_unread(fake *f, int fd, int number) {
    (void)f;
    (void)number;
    fake_await_hangup(fd);
}

static void test_a_server_that_does_not_read(void **state) {
    (void)state;
    rig r;
    char *big = calloc(1, BIG);
    rig_start(&r, serve_unread, NULL, 100);
    dirty_request_add_bytes(r.request, big, BIG);
    rig_expect_failure(&r, DIRTY_ETIMEOUT, "no", "no answer");
    rig_stop(&r);
    free(big);
}

static void on_alarm(int signal_number) {
    (void)signal_number;
}

static void serve_slowly(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd)) {
        usleep(100000);
        fake_echo(f, fd);
    }
}

static void test_signals_do_not_disturb(void **state) {
    (void)state;
    rig r;
    struct sigaction action = {.sa_handler = on_alarm}, before;
    struct itimerval often = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
    char *big = calloc(1, BIG);
    rig_start(&r, serve_slowly, NULL, 5000);
    dirty_request_add_bytes(r.request, big, BIG);
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    int rc = rig_call(&r);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(rc, 0);
    rig_stop(&r);
    free(big);
}

/* -- Errors of the server ----------------------------------------------------------- */

static void serve_app_error(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd))
        fake_send_error(f, fd, 3, "boom", f->arg);
}

static void test_an_error_keeps_the_connection(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_app_error, (void *)"{\"started\":\"yes\",\"x\":1}", 5000);
    for (int i = 0; i < 3; i++)
        rig_expect_failure(&r, DIRTY_EAPP, "yes", "boom");
    assert_int_equal(dirty_errmsg_len(r.client), 4);
    assert_string_equal(dirty_err_details(r.client), "{\"started\":\"yes\",\"x\":1}");
    assert_int_equal(r.server.connections, 1);
    rig_stop(&r);
}

static void serve_error_with_nul(fake *f, int fd, int number) {
    (void)number;
    static const uint8_t payload[] = {0, 3,   0,   0, 'b', 0, 0, 0,   3,  'a',
                                      0, 'b', 'j', 0, 0,   0, 2, '{', '}'};
    while (fake_read_request(f, fd))
        fake_send_frame(f, fd, DIRTY_FRAME_ERROR, payload, sizeof payload);
}

static void test_a_message_with_a_nul(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_error_with_nul, NULL, 5000);
    rig_expect_failure(&r, DIRTY_EAPP, "yes", "a");
    assert_int_equal(dirty_errmsg_len(r.client), 3);
    assert_memory_equal(dirty_errmsg(r.client), "a\0b", 4);
    rig_stop(&r);
}

/* Too busy for what it has seen only the beginning of: as a server does it, with the rest
 * discarded for a while, or rudely. */
static void serve_overloaded(fake *f, int fd, int number) {
    (void)number;
    uint8_t header[DIRTY_FRAME_HEADER_LEN];
    dirty_frame frame;
    if (recv(fd, header, sizeof header, MSG_WAITALL) != sizeof header)
        return;
    dirty_frame_decode(header, sizeof header, UINT32_MAX, &frame);
    f->id = frame.id;
    fake_send_error(f, fd, 7, "queue full", "{\"started\":\"no\"}");
    if (f->arg != NULL)
        return;
    shutdown(fd, SHUT_WR);
    fake_discard(fd, SIZE_MAX);
}

static void test_an_error_while_the_request_is_sent(void **state) {
    (void)state;
    rig r;
    char *big = calloc(1, BIG);
    for (int rude = 0; rude < 2; rude++) {
        rig_start(&r, serve_overloaded, rude ? (void *)"rude" : NULL, 5000);
        dirty_request_add_bytes(r.request, big, BIG);
        for (int i = 0; i < 20; i++)
            rig_expect_failure(&r, DIRTY_EOVERLOADED, "no", "queue full");
        assert_int_equal(r.server.connections, 20);
        rig_stop(&r);
    }
    free(big);
}

/* Speaks of the connection, not of the request: id 0. */
static void serve_no_id(fake *f, int fd, int number) {
    (void)number;
    if (!fake_read_request(f, fd))
        return;
    f->id = 0;
    fake_send_error(f, fd, 11, "version 2 is spoken", NULL);
    fake_await_end(fd);
}

static void test_an_error_of_the_connection(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_no_id, NULL, 5000);
    rig_expect_failure(&r, DIRTY_EPROTOCOL, "no", "version 2");
    rig_expect_failure(&r, DIRTY_EPROTOCOL, "no", "version 2");
    assert_int_equal(r.server.connections, 2);
    rig_stop(&r);
}

static void serve_unknown_code(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd))
        fake_send_error(f, fd, 999, "news", "{\"started\":\"unknown\"}");
}

static void test_a_code_of_a_newer_server(void **state) {
    (void)state;
    rig r;
    rig_start(&r, serve_unknown_code, NULL, 5000);
    assert_int_equal(rig_call(&r), -999);
    assert_string_equal(dirty_err_name(-999), "UNKNOWN");
    assert_string_equal(dirty_err_started(r.client), "unknown");
    rig_stop(&r);
}

static void test_a_failure_is_forgotten_by_a_success(void **state) {
    (void)state;
    rig r;
    int resets = 2;
    rig_start(&r, serve_reset, &resets, 5000);
    dirty_request_add_bytes(r.request, "x", 1);
    rig_expect_failure(&r, DIRTY_ECONNECTION, "no", "");
    rig_expect_bytes(&r, "x", 1);
    assert_int_equal(dirty_err(r.client), 0);
    assert_string_equal(dirty_errmsg(r.client), "");
    rig_stop(&r);
}

/* -- Forked processes --------------------------------------------------------------- */

/* The first connection is served one call, then stays open and silent; the others are
 * served. */
static void serve_first_once(fake *f, int fd, int number) {
    while (fake_read_request(f, fd)) {
        fake_echo(f, fd);
        if (number == 1) {
            *(int *)f->arg = dup(fd);
            return;
        }
    }
}

/* Run the test in a forked process: the status that it ended with. */
static int run_forked(int (*test)(rig *r), rig *r) {
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(test(r));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int call_and_free(rig *r) {
    const char *data;
    size_t len;
    int rc = rig_call(r);
    if (rc < 0 || dirty_reply_value(r->reply, 0, &data, &len) == 0)
        return 1;
    rc = len == 2 && memcmp(data, "me", 2) == 0 ? 0 : 2;
    dirty_free(r->client);
    return rc;
}

static void test_a_forked_process_has_a_connection_of_its_own(void **state) {
    (void)state;
    rig r;
    char byte;
    int held = -1;
    rig_start(&r, serve_first_once, &held, 5000);
    dirty_request_add_bytes(r.request, "me", 2);
    rig_expect_bytes(&r, "me", 2);
    fake_await_closed(&r.server, 1);
    assert_int_equal(run_forked(call_and_free, &r), 0);
    assert_int_equal(r.server.connections, 2);
    /* The parent's is as it was: nothing was sent over it, and it was not ended. */
    assert_int_equal(recv(held, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    close(held);
    rig_expect_bytes(&r, "me", 2);
    rig_stop(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_come_back_as_they_went),
        cmocka_unit_test(test_no_values_at_all),
        cmocka_unit_test(test_as_many_values_as_there_can_be),
        cmocka_unit_test(test_megabytes),
        cmocka_unit_test(names_of_the_runtimes_own_are_refused),
        cmocka_unit_test(the_arbiter_is_asked_by_functions_of_its_own),
        cmocka_unit_test(test_head_of_a_request),
        cmocka_unit_test(test_a_connection_is_kept),
        cmocka_unit_test(test_a_connection_is_not_passed_on),
        cmocka_unit_test(test_a_connection_closed_while_idle_is_reopened),
        cmocka_unit_test(test_a_first_write_that_fails_is_done_again),
        cmocka_unit_test(test_a_reset_before_any_answer_is_done_again_once),
        cmocka_unit_test(test_an_end_before_any_answer_is_not_done_again),
        cmocka_unit_test(test_bytes_behind_an_answer_end_the_connection),
        cmocka_unit_test(test_no_answer_in_time),
        cmocka_unit_test(test_a_trickle_is_not_in_time),
        cmocka_unit_test(test_the_servers_own_timeout_arrives),
        cmocka_unit_test(test_a_server_that_does_not_read),
        cmocka_unit_test(test_signals_do_not_disturb),
        cmocka_unit_test(test_an_error_keeps_the_connection),
        cmocka_unit_test(test_a_message_with_a_nul),
        cmocka_unit_test(test_an_error_while_the_request_is_sent),
        cmocka_unit_test(test_an_error_of_the_connection),
        cmocka_unit_test(test_a_code_of_a_newer_server),
        cmocka_unit_test(test_a_failure_is_forgotten_by_a_success),
        cmocka_unit_test(test_a_forked_process_has_a_connection_of_its_own),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
