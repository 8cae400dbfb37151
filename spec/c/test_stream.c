/* Streams of the blocking client: chunks, ends, errors in the midst, leaving early. */
#include "harness.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client_rig.h"

static const uint8_t a_chunk[] = {0, 1, 'b', 0, 0, 0, 2, 'h', 'i'};

static void send_chunks(fake *f, int fd, int count) {
    for (int i = 0; i < count; i++)
        fake_send_frame(f, fd, DIRTY_FRAME_CHUNK, a_chunk, sizeof a_chunk);
}

/* Requests are answered by what `arg` points to: a list of frame types, 0 ends it. */
static void serve_frames(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd))
        for (const char *what = f->arg; *what; what++) {
            if (*what == 'c')
                send_chunks(f, fd, 1);
            else if (*what == 'e')
                fake_send_frame(f, fd, DIRTY_FRAME_END, NULL, 0);
            else if (*what == 'p')
                fake_send_frame(f, fd, DIRTY_FRAME_END, a_chunk, 1);
            else if (*what == 'r')
                fake_send_frame(f, fd, DIRTY_FRAME_RESPONSE, a_chunk, sizeof a_chunk);
            else if (*what == 'x')
                fake_send_error(f, fd, 3, "went wrong", "{\"started\":\"yes\"}");
            else if (*what == 'q')
                return;
        }
}

static void expect_chunks(dirty_stream *s, int count) {
    const char *data;
    size_t len;
    dirty_reply *chunk;
    for (int i = 0; i < count; i++) {
        assert_int_equal(dirty_stream_next(s, &chunk), 1);
        assert_int_equal(dirty_reply_value(chunk, 0, &data, &len), DIRTY_BYTES);
        assert_int_equal(len, 2);
        assert_memory_equal(data, "hi", 3);
        dirty_reply_free(chunk);
    }
}

static void expect_end(dirty_stream *s, int rc) {
    dirty_reply *chunk = (dirty_reply *)s;
    for (int i = 0; i < 2; i++) { /* and the same again */
        assert_int_equal(dirty_stream_next(s, &chunk), rc);
        assert_null(chunk);
    }
}

static void start(rig *r, const char *frames, dirty_stream **s) {
    rig_start(r, serve_frames, (void *)(uintptr_t)frames, 5000);
    assert_int_equal(dirty_stream_open(r->client, r->request, s), 0);
}

static void chunks_then_end(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    start(&r, "ccce", &s);
    expect_chunks(s, 3);
    expect_end(s, 0);
    dirty_stream_close(s);
    /* the connection is good for the next */
    assert_int_equal(dirty_stream_open(r.client, r.request, &s), 0);
    expect_chunks(s, 3);
    expect_end(s, 0);
    dirty_stream_close(s);
    assert_int_equal(r.server.connections, 1);
    rig_stop(&r);
}

static void an_empty_stream(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    start(&r, "e", &s);
    expect_end(s, 0);
    dirty_stream_close(s);
    rig_stop(&r);
}

static void a_plain_answer_is_one_chunk(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    start(&r, "r", &s);
    expect_chunks(s, 1);
    expect_end(s, 0);
    dirty_stream_close(s);
    assert_int_equal(rig_call(&r), 0);
    assert_int_equal(r.server.connections, 1);
    rig_stop(&r);
}

static void an_error_after_chunks(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    start(&r, "ccx", &s);
    expect_chunks(s, 2);
    expect_end(s, DIRTY_EAPP);
    assert_string_equal(dirty_errmsg(r.client), "went wrong");
    dirty_stream_close(s);
    rig_stop(&r);
}

static void an_error_at_once(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    rig_start(&r, serve_frames, (void *)(uintptr_t)"x", 5000);
    assert_int_equal(dirty_stream_open(r.client, r.request, &s), DIRTY_EAPP);
    assert_null(s);
    rig_stop(&r);
}

static void lost_in_the_midst(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    start(&r, "ccq", &s);
    expect_chunks(s, 2);
    expect_end(s, DIRTY_ECONNECTION);
    assert_string_equal(dirty_err_started(r.client), "yes");
    dirty_stream_close(s);
    /* nothing was sent twice */
    assert_int_equal(r.server.requests, 1);
    rig_stop(&r);
}

static void an_end_with_a_payload_is_no_end(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    start(&r, "cp", &s);
    expect_chunks(s, 1);
    expect_end(s, DIRTY_EPROTOCOL);
    dirty_stream_close(s);
    rig_stop(&r);
}

static void left_early(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    start(&r, "ccccce", &s);
    expect_chunks(s, 1);
    dirty_stream_close(s);
    fake_await_closed(&r.server, 1);
    /* the next call gets its own answer, on another connection */
    assert_int_equal(dirty_stream_open(r.client, r.request, &s), 0);
    expect_chunks(s, 5);
    expect_end(s, 0);
    dirty_stream_close(s);
    assert_int_equal(r.server.connections, 2);
    rig_stop(&r);
}

#define STALL_BUDGET_MS 1500

/* The first stream stalls for ever, the next ones only pause. */
static void serve_stalled(fake *f, int fd, int number) {
    while (fake_read_request(f, fd)) {
        send_chunks(f, fd, 1);
        if (number == 1) {
            fake_await_end(fd);
            return;
        }
        poll(NULL, 0, STALL_BUDGET_MS / 5);
        fake_send_frame(f, fd, DIRTY_FRAME_END, NULL, 0);
    }
}

/* The budget is for the whole of a stream, and the next call has its own. */
static void stalled_and_paused(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    rig_start(&r, serve_stalled, NULL, STALL_BUDGET_MS);
    assert_int_equal(dirty_stream_open(r.client, r.request, &s), 0);
    expect_chunks(s, 1);
    expect_end(s, DIRTY_ETIMEOUT);
    dirty_stream_close(s);
    assert_int_equal(dirty_stream_open(r.client, r.request, &s), 0);
    expect_chunks(s, 1);
    expect_end(s, 0);
    dirty_stream_close(s);
    assert_int_equal(r.server.connections, 2);
    rig_stop(&r);
}

static void one_stream_at_a_time(void **state) {
    (void)state;
    rig r;
    dirty_stream *s, *other;
    start(&r, "cce", &s);
    assert_int_equal(rig_call(&r), DIRTY_EINVALID);
    assert_int_equal(dirty_stream_open(r.client, r.request, &other), DIRTY_EINVALID);
    expect_chunks(s, 2);
    expect_end(s, 0);
    dirty_stream_close(s);
    rig_stop(&r);
}

static void the_client_may_go_first(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    dirty_reply *chunk;
    start(&r, "cce", &s);
    dirty_free(r.client);
    r.client = NULL;
    int first = dirty_stream_next(s, &chunk);
    assert_int_equal(first, DIRTY_EINVALID);
    dirty_stream_close(s);
    dirty_stream_close(NULL);
    rig_stop(&r);
}

/* What a forked process sees: the number of the first thing that is wrong. */
static int try_as_child(rig *r, dirty_stream *s) {
    dirty_reply *chunk;
    for (int i = 0; i < 2; i++) /* and the same again */
        if (dirty_stream_next(s, &chunk) != DIRTY_EINVALID || chunk != NULL)
            return 1;
    if (strstr(dirty_errmsg(r->client), "forked") == NULL)
        return 2;
    dirty_stream_close(s);
    dirty_free(r->client);
    return 0;
}

static void a_forked_process_leaves_it_alone(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    int status;
    start(&r, "cccce", &s);
    expect_chunks(s, 2);
    pid_t pid = fork();
    if (pid == 0)
        _exit(try_as_child(&r, s));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    expect_chunks(s, 2);
    expect_end(s, 0);
    dirty_stream_close(s);
    assert_int_equal(r.server.connections, 1);
    rig_stop(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_then_end),
        cmocka_unit_test(an_empty_stream),
        cmocka_unit_test(a_plain_answer_is_one_chunk),
        cmocka_unit_test(an_error_after_chunks),
        cmocka_unit_test(an_error_at_once),
        cmocka_unit_test(lost_in_the_midst),
        cmocka_unit_test(an_end_with_a_payload_is_no_end),
        cmocka_unit_test(left_early),
        cmocka_unit_test(stalled_and_paused),
        cmocka_unit_test(one_stream_at_a_time),
        cmocka_unit_test(the_client_may_go_first),
        cmocka_unit_test(a_forked_process_leaves_it_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
