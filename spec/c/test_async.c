/* The event-driven client on a plain epoll-free poll(2) loop, and on libuv. */
#include "harness.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include <uv.h>

/* libuv's, but it may be told to fail. */
static int poll_start_fails;
static int start_poll(uv_poll_t *poll, int events, uv_poll_cb cb) {
    return poll_start_fails != 0 ? poll_start_fails : uv_poll_start(poll, events, cb);
}
#define uv_poll_start start_poll
#include "dirty_uv.h"
#undef uv_poll_start

#include "fake_server.h"

#define CALLS_MAX 300

typedef struct got {
    int calls; /* of the callback */
    int ends;
    int err;
    int chunks;
    char text[64]; /* of the last value */
    char message[200];
    const char *started;
} got;

static void note(dirty_async *a, dirty_outcome *o, void *arg) {
    got *g = arg;
    const char *data;
    size_t len;
    (void)a;
    g->calls++;
    if (o->more)
        g->chunks++;
    else
        g->ends++;
    g->err = o->err;
    snprintf(g->message, sizeof g->message, "%s", o->message);
    g->started = o->started;
    if (o->reply != NULL && dirty_reply_value(o->reply, 0, &data, &len) != 0)
        snprintf(g->text, sizeof g->text, "%.*s", (int)len, data);
}

static dirty_request *make(const char *text) {
    dirty_request *r;
    assert_int_equal(dirty_request_new(&r, "app", "action"), 0);
    if (text != NULL)
        assert_int_equal(dirty_request_addf(r, "%s", text), 0);
    return r;
}

static dirty_async *open_async(fake *f, uint32_t timeout_ms, uint32_t connections) {
    dirty_async_options o;
    dirty_async *a;
    dirty_async_options_init(&o);
    o.client.socket = f->path;
    o.client.timeout_ms = timeout_ms;
    o.max_connections = connections;
    assert_int_equal(dirty_async_open(&a, &o), 0);
    return a;
}

/* Run the loop until no call is pending. */
static void run(dirty_async *a) {
    uint64_t until_ns = dirty_now_ns() + 20000 * DIRTY_NS_PER_MS;
    while (dirty_async_pending(a) > 0) {
        struct pollfd p = {.fd = dirty_async_fd(a), .events = POLLIN};
        assert_true(dirty_now_ns() < until_ns);
        poll(&p, 1, 1000);
        if (p.revents != 0)
            dirty_async_ready(a);
    }
}

static void serve_echo(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd))
        fake_echo(f, fd);
}

static void every_call_gets_its_answer(void **state) {
    (void)state;
    fake f;
    got g[CALLS_MAX] = {0};
    static char texts[CALLS_MAX][16];
    fake_start(&f, 64, serve_echo, NULL);
    dirty_async *a = open_async(&f, 15000, 1);
    for (int i = 0; i < CALLS_MAX; i++) {
        snprintf(texts[i], sizeof texts[i], "call %d", i);
        assert_int_equal(dirty_async_call(a, make(texts[i]), note, &g[i], NULL), 0);
        assert_int_equal(g[i].calls, 0);
    }
    run(a);
    for (int i = 0; i < CALLS_MAX; i++) {
        assert_int_equal(g[i].calls, 1);
        assert_int_equal(g[i].err, 0);
        assert_string_equal(g[i].text, texts[i]);
    }
    assert_int_equal(f.connections, 1);
    dirty_async_free(a);
    fake_stop(&f);
}

static void no_descriptor_is_passed_on(void **state) {
    (void)state;
    fake f;
    got g[4] = {0};
    int before = fake_count_passed_on();
    fake_start(&f, 64, serve_echo, NULL);
    dirty_async *a = open_async(&f, 15000, 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(dirty_async_call(a, make("x"), note, &g[i], NULL), 0);
    run(a);
    assert_int_equal(f.connections, 1);
    assert_int_equal(fake_count_passed_on(), before);
    dirty_async_free(a);
    fake_stop(&f);
}

static void big_values_go_both_ways(void **state) {
    (void)state;
    fake f;
    got g = {0};
    dirty_request *r = make(NULL);
    size_t len = 5u << 20;
    char *big = malloc(len);
    memset(big, 'x', len);
    fake_start(&f, 64, serve_echo, NULL);
    dirty_async *a = open_async(&f, 15000, 2);
    dirty_request_addf(r, "%b, %d, %lld, %f, %t, %n", big, len, -5, 1ll << 40, 0.5, 1);
    assert_int_equal(dirty_async_call(a, r, note, &g, NULL), 0);
    run(a);
    assert_int_equal(g.err, 0);
    assert_int_equal(g.text[0], 'x');
    dirty_async_free(a);
    fake_stop(&f);
    free(big);
}

/* Send an answer byte by byte, each when the test asks for it. */
static void send_when_asked(fake *f, int fd, const uint8_t *bytes, size_t len) {
    const int *asked = f->arg;
    char any;
    for (size_t i = 0; i < len && read(*asked, &any, 1) == 1; i++)
        fake_send(fd, bytes + i, 1);
}

/* A value, then an error. */
static void serve_byte_by_byte(fake *f, int fd, int number) {
    static const uint8_t payload[] = {0, 1, 'b', 0, 0, 0, 5, 'p', 'a', 'r', 't', 's'};
    uint8_t header[DIRTY_FRAME_HEADER_LEN];
    dirty_buf error = {0};
    (void)number;
    if (!fake_read_request(f, fd))
        return;
    dirty_frame_encode(header, DIRTY_FRAME_RESPONSE, sizeof payload, f->id);
    send_when_asked(f, fd, header, sizeof header);
    send_when_asked(f, fd, payload, sizeof payload);
    if (!fake_read_request(f, fd))
        return;
    dirty_error_encode(&error, f->id, 7, dirty_slice_cstr("too many wait"),
                       "{\"started\":\"no\"}");
    send_when_asked(f, fd, error.base, error.len);
    dirty_buf_deinit(&error);
}

/* Ask for a byte as soon as the one before has been read. */
static void run_byte_by_byte(dirty_async *a, int ask) {
    uint64_t until_ns = dirty_now_ns() + 20000 * DIRTY_NS_PER_MS;
    while (dirty_async_pending(a) > 0) {
        struct pollfd p = {.fd = dirty_async_fd(a), .events = POLLIN};
        assert_true(dirty_now_ns() < until_ns);
        assert_int_equal(write(ask, "", 1), 1);
        while (dirty_async_pending(a) > 0 && poll(&p, 1, 2) > 0)
            dirty_async_ready(a);
    }
}

static void an_answer_may_come_byte_by_byte(void **state) {
    (void)state;
    fake f;
    got g[2] = {0};
    int asked[2];
    assert_int_equal(pipe(asked), 0);
    fake_start(&f, 64, serve_byte_by_byte, &asked[0]);
    dirty_async *a = open_async(&f, 15000, 1);
    assert_int_equal(dirty_async_call(a, make("x"), note, &g[0], NULL), 0);
    run_byte_by_byte(a, asked[1]);
    assert_int_equal(g[0].err, 0);
    assert_string_equal(g[0].text, "parts");
    assert_int_equal(dirty_async_call(a, make("x"), note, &g[1], NULL), 0);
    run_byte_by_byte(a, asked[1]);
    assert_int_equal(g[1].err, DIRTY_EOVERLOADED);
    assert_string_equal(g[1].message, "too many wait");
    assert_int_equal(f.connections, 1);
    dirty_async_free(a);
    close(asked[1]);
    fake_stop(&f);
    close(asked[0]);
}

static void serve_error(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd))
        fake_send_error(f, fd, 7, "too many wait", "{\"started\":\"no\"}");
}

static void errors_are_typed(void **state) {
    (void)state;
    fake f;
    got g = {0};
    fake_start(&f, 64, serve_error, NULL);
    dirty_async *a = open_async(&f, 5000, 2);
    assert_int_equal(dirty_async_call(a, make("x"), note, &g, NULL), 0);
    run(a);
    assert_int_equal(g.err, DIRTY_EOVERLOADED);
    assert_string_equal(g.message, "too many wait");
    dirty_async_free(a);
    fake_stop(&f);
}

static void nobody_listens(void **state) {
    (void)state;
    fake f;
    got g = {0};
    fake_start(&f, 64, serve_echo, NULL);
    dirty_async *a = open_async(&f, 5000, 2);
    fake_stop(&f);
    assert_int_equal(dirty_async_call(a, make("x"), note, &g, NULL), 0);
    assert_int_equal(g.calls, 0);
    run(a);
    assert_int_equal(g.err, DIRTY_ECONNECTION);
    assert_string_equal(g.started, "no");
    dirty_async_free(a);
}

static void serve_hang_ms(fake *f, int fd, int number) {
    (void)number;
    if (fake_read_request(f, fd))
        fake_await_end(fd);
}

static void waits_end_with_the_budget(void **state) {
    (void)state;
    fake f;
    got first = {0}, second = {0};
    fake_start(&f, 64, serve_hang_ms, NULL);
    dirty_async *a = open_async(&f, 100, 1);
    assert_int_equal(dirty_async_call(a, make("x"), note, &first, NULL), 0);
    assert_int_equal(dirty_async_call(a, make("y"), note, &second, NULL), 0);
    run(a);
    assert_int_equal(first.err, DIRTY_ETIMEOUT);
    assert_string_equal(first.started, "unknown");
    assert_int_equal(second.err, DIRTY_ETIMEOUT);
    assert_string_equal(second.started, "no"); /* it never had a connection */
    assert_int_equal(f.requests, 1);
    dirty_async_free(a);
    fake_stop(&f);
}

static void serve_broken(fake *f, int fd, int number) {
    if (!fake_read_request(f, fd))
        return;
    if (number == 1)
        fake_send(fd, "garbage that is no frame", 24);
    else
        fake_send_frame(f, fd, DIRTY_FRAME_RESPONSE, "\0\1b\0\0\0\x7f", 7);
}

static void broken_answers_end_their_connection(void **state) {
    (void)state;
    fake f;
    got g[2] = {0};
    fake_start(&f, 64, serve_broken, NULL);
    dirty_async *a = open_async(&f, 5000, 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(dirty_async_call(a, make("x"), note, &g[i], NULL), 0);
    run(a);
    assert_int_equal(g[0].err, DIRTY_EPROTOCOL);
    assert_int_equal(g[1].err, DIRTY_EPROTOCOL);
    assert_int_equal(f.connections, 2);
    dirty_async_free(a);
    fake_stop(&f);
}

/* -- Streams ------------------------------------------------------------------------ */

static const uint8_t a_chunk[] = {0, 1, 'b', 0, 0, 0, 2, 'h', 'i'};

static void serve_chunks(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd)) {
        for (int i = 0; i < 10; i++)
            fake_send_frame(f, fd, DIRTY_FRAME_CHUNK, a_chunk, sizeof a_chunk);
        fake_send_frame(f, fd, DIRTY_FRAME_END, NULL, 0);
    }
}

static void a_stream_calls_back_for_each_chunk(void **state) {
    (void)state;
    fake f;
    got g = {0}, plain = {0};
    fake_start(&f, 64, serve_chunks, NULL);
    dirty_async *a = open_async(&f, 5000, 1);
    assert_int_equal(dirty_async_stream(a, make("x"), note, &g, NULL), 0);
    run(a);
    assert_int_equal(g.chunks, 10);
    assert_int_equal(g.ends, 1);
    assert_int_equal(g.err, 0);
    assert_string_equal(g.text, "hi");
    assert_int_equal(dirty_async_call(a, make("x"), note, &plain, NULL), 0);
    run(a);
    assert_int_equal(plain.err, DIRTY_EPROTOCOL); /* a plain call can't take chunks */
    dirty_async_free(a);
    fake_stop(&f);
}

typedef struct stopper {
    got g;
    uint64_t ticket;
    int at;    /* at which chunk */
    int pause; /* pause, and not cancel */
} stopper;

static void stop_at_a_chunk(dirty_async *a, dirty_outcome *o, void *arg) {
    stopper *s = arg;
    note(a, o, &s->g);
    if (!o->more || s->g.chunks != s->at)
        return;
    if (s->pause)
        assert_int_equal(dirty_async_pause(a, s->ticket, 1), 0);
    else
        assert_int_equal(dirty_async_cancel(a, s->ticket), 0);
}

static void cancel_inside_the_callback(void **state) {
    (void)state;
    fake f;
    stopper s = {.at = 3};
    got after = {0};
    fake_start(&f, 64, serve_chunks, NULL);
    dirty_async *a = open_async(&f, 5000, 1);
    assert_int_equal(dirty_async_stream(a, make("x"), stop_at_a_chunk, &s, &s.ticket), 0);
    run(a);
    assert_int_equal(s.g.chunks, 3);
    assert_int_equal(s.g.ends, 1);
    assert_int_equal(s.g.err, DIRTY_ECANCELLED);
    assert_int_equal(dirty_async_cancel(a, s.ticket), DIRTY_EINVALID);
    assert_int_equal(dirty_async_stream(a, make("x"), note, &after, NULL), 0);
    run(a);
    assert_int_equal(after.chunks, 10);
    assert_int_equal(f.connections, 2);
    dirty_async_free(a);
    fake_stop(&f);
}

static void a_paused_stream_goes_on(void **state) {
    (void)state;
    fake f;
    stopper s = {.at = 2, .pause = 1};
    fake_start(&f, 64, serve_chunks, NULL);
    dirty_async *a = open_async(&f, 8000, 1);
    assert_int_equal(dirty_async_stream(a, make("x"), stop_at_a_chunk, &s, &s.ticket), 0);
    while (s.g.chunks < 2)
        dirty_async_ready(a);
    for (int i = 0; i < 20; i++) { /* nothing more comes while it is paused */
        poll(NULL, 0, 1);
        dirty_async_ready(a);
    }
    assert_int_equal(s.g.chunks, 2);
    assert_int_equal(dirty_async_pause(a, s.ticket, 0), 0);
    run(a);
    assert_int_equal(s.g.chunks, 10);
    assert_int_equal(s.g.err, 0);
    dirty_async_free(a);
    fake_stop(&f);
}

static void pause_for_a_moment(dirty_async *a, dirty_outcome *o, void *arg) {
    stopper *s = arg;
    note(a, o, &s->g);
    if (!o->more || s->g.chunks != s->at)
        return;
    assert_int_equal(dirty_async_pause(a, s->ticket, 1), 0);
    assert_int_equal(dirty_async_pause(a, s->ticket, 0), 0);
}

static void a_stream_that_ends_before_its_pause_is_over(void **state) {
    (void)state;
    fake f;
    stopper s = {.at = 2};
    fake_start(&f, 64, serve_chunks, NULL);
    dirty_async *a = open_async(&f, 8000, 1);
    for (int i = 0; i < 3; i++) {
        s.g = (got){0};
        assert_int_equal(
            dirty_async_stream(a, make("x"), pause_for_a_moment, &s, &s.ticket), 0);
        run(a);
        assert_int_equal(s.g.chunks, 10);
        for (int k = 0; k < 3; k++) { /* what was to wake it finds it over */
            poll(NULL, 0, 1);
            dirty_async_ready(a);
        }
    }
    assert_int_equal(f.connections, 1);
    dirty_async_free(a);
    fake_stop(&f);
}

/* -- One round is bounded ----------------------------------------------------------- */

#define MANY_CHUNKS 2000
#define CHUNKS_OF_A_ROUND_MAX 200

static void serve_many_chunks_at_once(fake *f, int fd, int number) {
    (void)number;
    dirty_buf all = {0};
    uint8_t header[DIRTY_FRAME_HEADER_LEN];
    if (!fake_read_request(f, fd))
        return;
    dirty_frame_encode(header, DIRTY_FRAME_CHUNK, sizeof a_chunk, f->id);
    for (int i = 0; i < MANY_CHUNKS; i++) {
        dirty_buf_append(&all, header, sizeof header);
        dirty_buf_append(&all, a_chunk, sizeof a_chunk);
    }
    dirty_frame_encode(header, DIRTY_FRAME_END, 0, f->id);
    dirty_buf_append(&all, header, sizeof header);
    fake_send(fd, all.base, all.len);
    dirty_buf_deinit(&all);
    atomic_store((atomic_int *)f->arg, 1);
    fake_await_end(fd);
}

static bool is_readable(const dirty_async *a, int within_ms) {
    struct pollfd p = {.fd = dirty_async_fd(a), .events = POLLIN};
    return poll(&p, 1, within_ms) > 0;
}

static void a_stream_takes_a_round_after_the_other(void **state) {
    (void)state;
    fake f;
    got g = {0};
    atomic_int sent = 0;
    fake_start(&f, 64, serve_many_chunks_at_once, &sent);
    dirty_async *a = open_async(&f, 15000, 1);
    assert_int_equal(dirty_async_stream(a, make("x"), note, &g, NULL), 0);
    dirty_async_ready(a); /* the request goes out */
    for (int ms = 0; atomic_load(&sent) == 0 && ms < 10000; ms++)
        poll(NULL, 0, 1);
    while (g.ends == 0) {
        int before = g.chunks;
        assert_true(is_readable(a, 0)); /* there is more */
        dirty_async_ready(a);
        assert_in_range(g.chunks - before, 0, CHUNKS_OF_A_ROUND_MAX);
    }
    assert_int_equal(g.err, 0);
    assert_int_equal(g.chunks, MANY_CHUNKS);
    dirty_async_free(a);
    fake_stop(&f);
}

/* Chunks without end, until the client leaves. */
static void serve_endless_chunks(fake *f, int fd, int number) {
    (void)number;
    static const uint8_t no_values[] = {0, 0};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    dirty_buf many = {0};
    uint8_t header[DIRTY_FRAME_HEADER_LEN];
    if (!fake_read_request(f, fd))
        return;
    dirty_frame_encode(header, DIRTY_FRAME_CHUNK, sizeof no_values, f->id);
    while (many.len < 60000) {
        dirty_buf_append(&many, header, sizeof header);
        dirty_buf_append(&many, no_values, sizeof no_values);
    }
    while (poll(&p, 1, 0) == 0)
        fake_send(fd, many.base, many.len);
    dirty_buf_deinit(&many);
}

static void note_slowly(dirty_async *a, dirty_outcome *o, void *arg) {
    note(a, o, arg);
    usleep(200); /* there is always a next chunk */
}

static void budgets_end_beside_an_endless_stream(void **state) {
    (void)state;
    fake f;
    got stream = {0}, waits = {0};
    uint64_t ticket;
    fake_start(&f, 64, serve_endless_chunks, NULL);
    dirty_async *a = open_async(&f, 15000, 1);
    dirty_request *r = make("y");
    dirty_request_set_budget_ms(r, 50);
    assert_int_equal(dirty_async_stream(a, make("x"), note_slowly, &stream, &ticket), 0);
    assert_int_equal(dirty_async_call(a, r, note, &waits, NULL), 0);
    while (waits.calls == 0) {
        assert_true(is_readable(a, 10000));
        dirty_async_ready(a);
    }
    assert_int_equal(waits.err, DIRTY_ETIMEOUT);
    assert_int_equal(stream.ends, 0);
    assert_int_equal(dirty_async_cancel(a, ticket), 0);
    dirty_async_free(a);
    fake_stop(&f);
}

#define RETRIES_MAX 1000

static void retry_at_once(dirty_async *a, dirty_outcome *o, void *arg) {
    got *g = arg;
    note(a, o, arg);
    if (g->calls < RETRIES_MAX)
        assert_int_equal(dirty_async_call(a, make("x"), retry_at_once, arg, NULL), 0);
}

static void a_retry_waits_for_the_next_round(void **state) {
    (void)state;
    fake f;
    got g = {0};
    fake_start(&f, 64, serve_echo, NULL);
    dirty_async *a = open_async(&f, 15000, 4);
    fake_stop(&f); /* nobody listens: each call fails at once */
    assert_int_equal(dirty_async_call(a, make("x"), retry_at_once, &g, NULL), 0);
    for (int i = 1; i <= 5; i++) {
        assert_true(is_readable(a, 10000));
        dirty_async_ready(a);
        assert_int_equal(g.calls, i);
    }
    assert_int_equal(g.err, DIRTY_ECONNECTION);
    g.calls = RETRIES_MAX; /* the last */
    dirty_async_free(a);
}

/* -- The story of an outcome -------------------------------------------------------- */

typedef struct meddler {
    got g;
    char how; /* 'c' cancel another call, 'f' free the client, 'r' be refused a call */
    uint64_t other;
    bool same; /* the story was the same afterwards */
} meddler;

static void meddle(dirty_async *a, dirty_outcome *o, void *arg) {
    meddler *m = arg;
    char message[200], details[300];
    note(a, o, &m->g);
    snprintf(message, sizeof message, "%s", o->message);
    snprintf(details, sizeof details, "%s", o->details);
    if (m->how == 'c')
        assert_int_equal(dirty_async_cancel(a, m->other), 0);
    else if (m->how == 'f')
        dirty_async_free(a);
    else
        assert_int_equal(dirty_async_call(a, NULL, note, &m->g, NULL), DIRTY_EINVALID);
    if (m->how == 'r') {
        dirty_request *r = make("x");
        dirty_request_set_priority(r, 77);
        assert_int_equal(dirty_async_call(a, r, note, &m->g, NULL), DIRTY_EINVALID);
        dirty_request_free(r);
    }
    m->same = strcmp(message, o->message) == 0 && strcmp(details, o->details) == 0 &&
              strlen(message) == o->message_len;
}

static void the_story_of_an_outcome_stays(void **state) {
    (void)state;
    fake f;
    fake_start(&f, 64, serve_hang_ms, NULL);
    for (const char *how = "crf"; *how != '\0'; how++) {
        got other = {0};
        meddler m = {.how = *how};
        dirty_request *r, *mine = make(NULL);
        dirty_async *a = open_async(&f, 15000, 1);
        assert_int_equal(dirty_request_new(&r, "another.app", "of_another_name"), 0);
        dirty_request_set_budget_ms(mine, 20);
        assert_int_equal(dirty_async_call(a, make("x"), note, &other, NULL), 0);
        assert_int_equal(dirty_async_call(a, mine, meddle, &m, NULL), 0);
        assert_int_equal(dirty_async_call(a, r, note, &other, &m.other), 0);
        while (m.g.calls == 0) {
            assert_true(is_readable(a, 10000));
            dirty_async_ready(a);
        }
        assert_int_equal(m.g.err, DIRTY_ETIMEOUT);
        assert_true(m.same);
        if (*how != 'f')
            dirty_async_free(a);
        assert_int_equal(other.calls, 2);
    }
    fake_stop(&f);
}

/* -- Ends --------------------------------------------------------------------------- */

static void freeing_ends_every_call(void **state) {
    (void)state;
    fake f;
    got g[5] = {0};
    fake_start(&f, 64, serve_hang_ms, NULL);
    dirty_async *a = open_async(&f, 5000, 2);
    for (int i = 0; i < 5; i++)
        assert_int_equal(dirty_async_call(a, make("x"), note, &g[i], NULL), 0);
    while (f.requests < 1)
        dirty_async_ready(a);
    dirty_async_free(a);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(g[i].calls, 1);
        assert_int_equal(g[i].err, DIRTY_ECANCELLED);
    }
    fake_stop(&f);
}

/* By the number of its connection: silence, half an answer, a stream that goes on. */
static void serve_without_end(fake *f, int fd, int number) {
    if (number % 4 == 1) {
        fake_await_hangup(fd); /* the request is never read */
    } else if (fake_read_request(f, fd)) {
        if (number % 4 == 2)
            fake_send(fd, "DW\1\2\0\0\0\11\0\0", 10);
        for (int i = 0; number % 4 == 3 && i < 3; i++)
            fake_send_frame(f, fd, DIRTY_FRAME_CHUNK, a_chunk, sizeof a_chunk);
        fake_await_end(fd);
    }
}

static void freeing_in_any_state(void **state) {
    (void)state;
    fake f;
    size_t len = 1u << 20;
    char *big = calloc(1, len);
    fake_start(&f, 1, serve_without_end, NULL); /* a backlog for two */
    for (int steps = 0; steps < 24; steps++) {
        got g[6] = {0};
        stopper s = {.at = 1, .pause = 1};
        dirty_async *a = open_async(&f, 5000, 4);
        for (int i = 0; i < 6; i++) {
            dirty_request *r = make(NULL);
            dirty_request_add_bytes(r, big, i == 0 ? len : 1);
            assert_int_equal(dirty_async_call(a, r, note, &g[i], NULL), 0);
        }
        assert_int_equal(dirty_async_stream(a, make("x"), stop_at_a_chunk, &s, &s.ticket),
                         0);
        for (int i = 0; i < steps; i++) {
            struct pollfd p = {.fd = dirty_async_fd(a), .events = POLLIN};
            poll(&p, 1, 2);
            dirty_async_ready(a);
        }
        dirty_async_free(a);
        for (int i = 0; i < 6; i++)
            assert_int_equal(g[i].ends, 1);
        assert_int_equal(s.g.ends, 1);
    }
    fake_stop(&f);
    free(big);
}

static void free_it(dirty_async *a, dirty_outcome *o, void *arg) {
    note(a, o, arg);
    dirty_async_free(a);
}

static void freeing_inside_a_callback(void **state) {
    (void)state;
    fake f;
    got first = {0}, second = {0};
    fake_start(&f, 64, serve_echo, NULL);
    dirty_async *a = open_async(&f, 5000, 1);
    assert_int_equal(dirty_async_call(a, make("x"), free_it, &first, NULL), 0);
    assert_int_equal(dirty_async_call(a, make("y"), note, &second, NULL), 0);
    while (first.calls == 0) {
        struct pollfd p = {.fd = dirty_async_fd(a), .events = POLLIN};
        poll(&p, 1, 1000);
        dirty_async_ready(a);
    }
    assert_int_equal(first.err, 0);
    assert_int_equal(second.calls, 1);
    assert_int_equal(second.err, DIRTY_ECANCELLED);
    fake_stop(&f);
}

/* What a forked process sees: the number of the first thing that is wrong. */
static int try_as_child(dirty_async *a, uint64_t ticket, const got *g) {
    dirty_request *r = make("x");
    if (dirty_async_call(a, r, note, NULL, NULL) != DIRTY_EINVALID)
        return 1;
    dirty_request_free(r);
    if (dirty_async_cancel(a, ticket) != DIRTY_EINVALID ||
        dirty_async_pause(a, ticket, 1) != DIRTY_EINVALID)
        return 2;
    int calls = g[0].calls + g[1].calls; /* what was answered before is known here too */
    dirty_async_ready(a);
    dirty_async_free(a);
    return g[0].calls + g[1].calls > calls ? 3 : 0;
}

static void a_forked_process_leaves_it_alone(void **state) {
    (void)state;
    fake f;
    got g[2] = {0};
    uint64_t ticket;
    int status;
    fake_start(&f, 64, serve_echo, NULL);
    dirty_async *a = open_async(&f, 15000, 1);
    assert_int_equal(dirty_async_call(a, make("x"), note, &g[0], &ticket), 0);
    assert_int_equal(dirty_async_call(a, make("y"), note, &g[1], NULL), 0);
    dirty_async_ready(a); /* the first is under way, the second waits */
    pid_t pid = fork();
    if (pid == 0)
        _exit(try_as_child(a, ticket, g));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    run(a);
    assert_int_equal(g[0].err, 0);
    assert_string_equal(g[0].text, "x");
    assert_string_equal(g[1].text, "y");
    assert_int_equal(f.connections, 1);
    dirty_async_free(a);
    fake_stop(&f);
}

static void again(dirty_async *a, dirty_outcome *o, void *arg) {
    got *g = arg;
    note(a, o, arg);
    if (g->calls < 50)
        assert_int_equal(dirty_async_call(a, make("more"), again, arg, NULL), 0);
}

static void calling_inside_a_callback(void **state) {
    (void)state;
    fake f;
    got g = {0};
    fake_start(&f, 64, serve_echo, NULL);
    dirty_async *a = open_async(&f, 5000, 1);
    assert_int_equal(dirty_async_call(a, make("x"), again, &g, NULL), 0);
    run(a);
    assert_int_equal(g.calls, 50);
    assert_int_equal(f.connections, 1);
    dirty_async_free(a);
    fake_stop(&f);
}

/* Calls that free connections will take don't wait: with 1 connection and 3 that may wait
 * there are 4. */
static void too_many_wait(void **state) {
    (void)state;
    fake f;
    got g = {0};
    dirty_async_options o;
    dirty_async *a;
    fake_start(&f, 64, serve_echo, NULL);
    dirty_async_options_init(&o);
    o.client.socket = f.path;
    o.max_waiting = 3;
    o.max_connections = 1; /* the server serves one after the other */
    assert_int_equal(dirty_async_open(&a, &o), 0);
    for (int round = 0; round < 2; round++) { /* before it is connected, and after */
        g = (got){0};
        for (int i = 0; i < 4; i++)
            assert_int_equal(dirty_async_call(a, make("x"), note, &g, NULL), 0);
        dirty_request *r = make("x");
        assert_int_equal(dirty_async_call(a, r, note, &g, NULL), DIRTY_EOVERLOADED);
        dirty_request_free(r); /* it stayed ours */
        run(a);
        assert_int_equal(g.calls, 4);
    }
    dirty_async_free(a);
    fake_stop(&f);
}

static void serve_one(fake *f, int fd, int number) {
    (void)number;
    if (fake_read_request(f, fd))
        fake_echo(f, fd);
}

static void a_server_that_closes_idle_connections(void **state) {
    (void)state;
    fake f;
    got g[3] = {0};
    fake_start(&f, 64, serve_one, NULL);
    dirty_async *a = open_async(&f, 5000, 1);
    assert_int_equal(dirty_async_call(a, make("x"), note, &g[0], NULL), 0);
    run(a);
    fake_stop(&f);
    assert_int_equal(dirty_async_call(a, make("x"), note, &g[1], NULL), 0);
    run(a);
    assert_int_equal(g[0].err, 0);
    assert_int_equal(g[1].err, DIRTY_ECONNECTION);
    dirty_async_free(a);
}

/* An end that nobody takes note of would be told again and again. */
static void the_end_of_an_idle_connection_is_one_event(void **state) {
    (void)state;
    fake f;
    got g = {0};
    fake_start(&f, 64, serve_one, NULL);
    dirty_async *a = open_async(&f, 60000, 1);
    assert_int_equal(dirty_async_call(a, make("x"), note, &g, NULL), 0);
    run(a);
    assert_int_equal(g.err, 0);
    fake_await_closed(&f, 1);
    struct pollfd p = {.fd = dirty_async_fd(a), .events = POLLIN};
    int rounds = 0; /* another may be the timer's */
    for (; rounds < 10 && poll(&p, 1, 0) == 1; rounds++)
        dirty_async_ready(a);
    assert_in_range(rounds, 0, 5);
    assert_int_equal(poll(&p, 1, 50), 0);
    dirty_async_free(a);
    fake_stop(&f);
}

/* The first connection is ended with its second request unread. */
static void serve_and_leave(fake *f, int fd, int number) {
    while (fake_read_request(f, fd)) {
        fake_echo(f, fd);
        if (number == 1) {
            fake_await_input(fd);
            return;
        }
    }
}

static void a_second_try_on_a_descriptor_of_the_same_number(void **state) {
    (void)state;
    fake f;
    got g[2] = {0};
    fake_start(&f, 64, serve_and_leave, NULL);
    dirty_async *a = open_async(&f, 5000, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dirty_async_call(a, make("x"), note, &g[i], NULL), 0);
        run(a);
        assert_int_equal(g[i].err, 0);
    }
    assert_int_equal(f.connections, 2);
    dirty_async_free(a);
    fake_stop(&f);
}

/* -- libuv --------------------------------------------------------------------------- */

static void stop_loop(dirty_async *a, dirty_outcome *o, void *arg) {
    dirty_uv *u = arg;
    note(a, o, u->data);
    dirty_uv_close(u, NULL);
}

static void on_a_libuv_loop(void **state) {
    (void)state;
    fake f;
    got g[2] = {0};
    dirty_uv u = {.data = &g[1]};
    uv_loop_t loop;
    dirty_async_options o;
    fake_start(&f, 64, serve_echo, NULL);
    dirty_async_options_init(&o);
    o.client.socket = f.path;
    o.max_connections = 1; /* the server serves one after the other */
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(dirty_uv_open(&u, &loop, &o), 0);
    assert_int_equal(dirty_async_call(u.async, make("one"), note, &g[0], NULL), 0);
    assert_int_equal(dirty_async_call(u.async, make("two"), note, &g[0], NULL), 0);
    while (g[0].calls < 2)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(dirty_async_call(u.async, make("end"), stop_loop, &u, NULL), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(g[1].calls, 1);
    assert_string_equal(g[1].text, "end");
    assert_int_equal(uv_loop_close(&loop), 0);
    fake_stop(&f);
}

static void count_closed(dirty_uv *u) {
    ++*(int *)u->data;
}

static void a_libuv_loop_that_does_not_take_it(void **state) {
    (void)state;
    int closed = 0;
    dirty_uv u = {.data = &closed};
    uv_loop_t loop;
    dirty_async_options o;
    dirty_async_options_init(&o);
    assert_int_equal(uv_loop_init(&loop), 0);
    o.max_waiting = 0; /* refused before the loop is asked */
    assert_int_equal(dirty_uv_open(&u, &loop, &o), DIRTY_EINVALID);
    assert_non_null(strstr(dirty_async_errmsg(u.async), "max_waiting"));
    dirty_uv_close(&u, count_closed);
    assert_int_equal(closed, 1);
    o.max_waiting = 1;
    poll_start_fails = UV_EEXIST;
    assert_int_equal(dirty_uv_open(&u, &loop, &o), UV_EEXIST);
    poll_start_fails = 0;
    dirty_uv_close(&u, count_closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(closed, 2);
    assert_int_equal(uv_loop_close(&loop), 0); /* nothing is left in it */
}

static void expect_refused(dirty_async *a, int rc, int code, const char *words) {
    assert_int_equal(rc, code);
    assert_int_equal(dirty_async_err(a), code);
    if (strstr(dirty_async_errmsg(a), words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, dirty_async_errmsg(a));
}

static void a_failed_open_can_be_read(void **state) {
    (void)state;
    char path[300];
    dirty_async_options o;
    dirty_async *a;
    dirty_request *r = make("x");
    int rc;
    memset(path, 'p', sizeof path);
    path[sizeof path - 1] = '\0';
    dirty_async_options_init(&o);
    o.client.socket = path;
    rc = dirty_async_open(&a, &o);
    expect_refused(a, rc, DIRTY_ECONNECTION, "of 299 bytes");
    for (int i = 0; i < 2; i++)
        expect_refused(a, dirty_async_call(a, r, note, NULL, NULL), DIRTY_ECONNECTION,
                       "of 299 bytes");
    assert_int_equal(dirty_async_fd(a), -1);
    dirty_async_ready(a);
    dirty_async_free(a);
    o.client.socket = "s";
    o.max_connections = 0;
    rc = dirty_async_open(&a, &o);
    expect_refused(a, rc, DIRTY_EINVALID, "max_connections is 0");
    dirty_async_free(a);
    assert_int_equal(dirty_async_call(NULL, r, note, NULL, NULL), DIRTY_EMEMORY);
    assert_string_equal(dirty_async_errmsg(NULL), "out of memory");
    dirty_request_free(r);
}

static void a_refused_call_can_be_read(void **state) {
    (void)state;
    dirty_async_options o;
    dirty_async *a;
    got g = {0};
    dirty_request *r = make("x");
    dirty_async_options_init(&o);
    o.client.socket = "/nowhere";
    o.max_connections = o.max_waiting = 1;
    assert_int_equal(dirty_async_open(&a, &o), 0);
    expect_refused(a, dirty_async_call(a, NULL, note, &g, NULL), DIRTY_EINVALID,
                   "no request");
    expect_refused(a, dirty_async_call(a, r, NULL, &g, NULL), DIRTY_EINVALID,
                   "no callback");
    dirty_request_addf(r, "%q");
    expect_refused(a, dirty_async_call(a, r, note, &g, NULL), DIRTY_EINVALID, "%q");
    dirty_request_free(r);
    r = make("x");
    dirty_request_reset(r, "@arbiter", "stop");
    expect_refused(a, dirty_async_call(a, r, note, &g, NULL), DIRTY_EDENIED,
                   "dirty_request_new_arbiter");
    expect_refused(a, dirty_async_stream(a, r, note, &g, NULL), DIRTY_EDENIED,
                   "@arbiter.stop was not called");
    assert_int_equal(dirty_async_pending(a), 0);
    dirty_request_reset_arbiter(r, "status");
    assert_int_equal(dirty_async_call(a, r, note, &g, NULL), 0);
    assert_int_equal(dirty_async_call(a, make("x"), note, &g, NULL), 0);
    assert_int_equal(dirty_async_err(a), 0);
    assert_string_equal(dirty_async_errmsg(a), "");
    r = make("x");
    expect_refused(a, dirty_async_call(a, r, note, &g, NULL), DIRTY_EOVERLOADED,
                   "max_waiting");
    dirty_request_free(r);
    dirty_async_free(a);
}

static void formats_that_are_wrong(void **state) {
    (void)state;
    dirty_request *r = make(NULL);
    assert_int_equal(dirty_request_addf(r, "%x", 1), DIRTY_EINVALID);
    assert_int_equal(dirty_request_addf(r, "%d", 1), 0);
    dirty_request_reset(r, "a", "b");
    assert_int_equal(dirty_request_addf(r, "%s", (char *)NULL), DIRTY_EINVALID);
    dirty_request_reset(r, "a", "b");
    assert_int_equal(dirty_request_addf(r, "hello"), DIRTY_EINVALID);
    dirty_request_reset(r, "a", "b");
    assert_int_equal(dirty_request_addf(r, "%"), DIRTY_EINVALID);
    dirty_request_free(r);
}

int main(int argc, char **argv) {
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_gets_its_answer),
        cmocka_unit_test(no_descriptor_is_passed_on),
        cmocka_unit_test(big_values_go_both_ways),
        cmocka_unit_test(an_answer_may_come_byte_by_byte),
        cmocka_unit_test(errors_are_typed),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(waits_end_with_the_budget),
        cmocka_unit_test(broken_answers_end_their_connection),
        cmocka_unit_test(a_stream_calls_back_for_each_chunk),
        cmocka_unit_test(cancel_inside_the_callback),
        cmocka_unit_test(a_paused_stream_goes_on),
        cmocka_unit_test(a_stream_that_ends_before_its_pause_is_over),
        cmocka_unit_test(a_stream_takes_a_round_after_the_other),
        cmocka_unit_test(budgets_end_beside_an_endless_stream),
        cmocka_unit_test(a_retry_waits_for_the_next_round),
        cmocka_unit_test(the_story_of_an_outcome_stays),
        cmocka_unit_test(freeing_ends_every_call),
        cmocka_unit_test(freeing_in_any_state),
        cmocka_unit_test(freeing_inside_a_callback),
        cmocka_unit_test(a_forked_process_leaves_it_alone),
        cmocka_unit_test(calling_inside_a_callback),
        cmocka_unit_test(too_many_wait),
        cmocka_unit_test(a_server_that_closes_idle_connections),
        cmocka_unit_test(the_end_of_an_idle_connection_is_one_event),
        cmocka_unit_test(a_second_try_on_a_descriptor_of_the_same_number),
        cmocka_unit_test(on_a_libuv_loop),
        cmocka_unit_test(a_libuv_loop_that_does_not_take_it),
        cmocka_unit_test(a_failed_open_can_be_read),
        cmocka_unit_test(a_refused_call_can_be_read),
        cmocka_unit_test(formats_that_are_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
