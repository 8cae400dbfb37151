/* What libdirty's user made may be ended in any order, from every point of its life, and
 * what is left can still be used: it says what has become of it. Meant for the sanitizers
 * and valgrind, but codes and values are looked at too. */
#include "harness.h"

#include <poll.h>

#include "base/clock.h"
#include "client_rig.h"

static const uint8_t a_chunk[] = {0, 1, 'b', 0, 0, 0, 2, 'h', 'i'};

/* The action tells: "echo", or the frames to answer with, as `scenes` below has them. */
static void serve(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd)) {
        dirty_slice action = f->route.action;
        if (dirty_slice_equals(action, "echo", 4)) {
            fake_echo(f, fd);
            continue;
        }
        for (size_t i = 0; i < action.len; i++) {
            if (action.base[i] == 'c')
                fake_send_frame(f, fd, DIRTY_FRAME_CHUNK, a_chunk, sizeof a_chunk);
            else if (action.base[i] == 'r')
                fake_send_frame(f, fd, DIRTY_FRAME_RESPONSE, a_chunk, sizeof a_chunk);
            else if (action.base[i] == 'e')
                fake_send_frame(f, fd, DIRTY_FRAME_END, NULL, 0);
            else if (action.base[i] == 'x')
                fake_send_error(f, fd, 3, "went wrong", "{\"started\":\"yes\"}");
            else if (action.base[i] == 'q')
                return;
        }
    }
}

/* The server's thread closes its ends a moment later. */
static void expect_descriptors(int count) {
    for (int ms = 0; rig_count_descriptors() != count; ms++) {
        assert_in_range(ms, 0, 10000);
        poll(NULL, 0, 1);
    }
}

/* -- The blocking client ------------------------------------------------------------ */

/* c a chunk, r a plain answer, e the end, x an error, q the connection's end; what ends
 * with none of the last four goes on for ever. `read`: so many frames are read before
 * anything is ended. */
typedef struct scene {
    const char *frames;
    int read;
} scene;

static const scene scenes[] = {{"ccce", 0}, {"ccce", 1}, {"ccce", 3}, {"ccce", 4},
                               {"e", 0},    {"e", 1},    {"r", 0},    {"r", 1},
                               {"r", 2},    {"cx", 1},   {"cx", 2},   {"cq", 1},
                               {"cq", 2},   {"c", 0},    {"c", 1}};

enum { OP_CLIENT, OP_CLOSE, OP_STREAM, OP_REQUEST, OP_CHUNK, OPS };

typedef struct life {
    const scene *scene;
    const char *path;
    dirty_client *client;
    dirty_request *request;
    dirty_stream *stream;
    dirty_reply *chunk;
    char *bytes;      /* that the request borrows */
    int given;        /* chunks that the stream gave */
    bool told;        /* it told its end, or that there is none */
    int end;          /* what it told then */
    bool cut, orphan; /* dirty_close, dirty_free came before that */
} life;

static int chunks_of(const char *frames) {
    int n = 0;
    for (; *frames; frames++)
        n += *frames == 'c' || *frames == 'r';
    return n;
}

/* What the stream has to say next: 1, or how it ends; -1: it would wait. */
static int next_of(const life *l) {
    if (l->told)
        return l->end;
    if (*l->scene->frames == 'r' && l->given == 1)
        return 0; /* a plain answer is its own end */
    if (l->orphan)
        return DIRTY_EINVALID;
    /* the first chunk came with dirty_stream_open */
    if (l->given < (l->cut ? 1 : chunks_of(l->scene->frames)))
        return l->given < chunks_of(l->scene->frames) ? 1 : 0;
    if (l->cut && !strchr("er", *l->scene->frames))
        return DIRTY_ECANCELLED;
    switch (l->scene->frames[strlen(l->scene->frames) - 1]) {
    case 'x': return DIRTY_EAPP;
    case 'q': return DIRTY_ECONNECTION;
    case 'c': return -1;
    default: return 0;
    }
}

static void read_one(life *l) {
    dirty_reply *chunk;
    int should = next_of(l);
    if (should == -1)
        return;
    int rc = dirty_stream_next(l->stream, &chunk);
    if (rc != should)
        fail_msg("%s after %d chunks: %d, should be %d", l->scene->frames, l->given, rc,
                 should);
    assert_int_equal(rc == 1, chunk != NULL);
    if (rc == 1) {
        l->given++;
        dirty_reply_free(l->chunk);
        l->chunk = chunk;
        return;
    }
    /* the story is the client's, and has the names of the call */
    if (rc < 0 && !l->told && l->client != NULL) {
        assert_int_equal(dirty_err(l->client), rc);
        assert_true(strlen(dirty_errmsg(l->client)) > 0);
        if (rc == DIRTY_ECANCELLED || rc == DIRTY_ECONNECTION)
            assert_non_null(strstr(dirty_err_details(l->client), "\"app\":\"app\""));
    }
    l->told = true;
    l->end = rc;
}

static void begin(life *l) {
    dirty_options options;
    dirty_options_init(&options);
    options.socket = l->path;
    options.timeout_ms = 20000;
    assert_int_equal(dirty_open(&l->client, &options), 0);
    assert_int_equal(dirty_request_new(&l->request, "app", l->scene->frames), 0);
    l->bytes = malloc(100);
    memset(l->bytes, 'b', 100);
    dirty_request_add_bytes(l->request, l->bytes, 100);
    assert_int_equal(dirty_stream_open(l->client, l->request, &l->stream), 0);
    for (int i = 0; i < l->scene->read; i++)
        read_one(l);
}

static void end(life *l, int op) {
    switch (op) {
    case OP_CLIENT:
        dirty_free(l->client);
        l->client = NULL;
        l->orphan = true;
        break;
    case OP_CLOSE:
        l->cut = l->cut || l->client != NULL;
        dirty_close(l->client);
        break;
    case OP_STREAM:
        dirty_stream_close(l->stream);
        l->stream = NULL;
        break;
    case OP_REQUEST:
        dirty_request_free(l->request);
        free(l->bytes);
        l->request = NULL;
        break;
    default: dirty_reply_free(l->chunk); l->chunk = NULL;
    }
}

/* Use what is left. */
static void use(life *l) {
    const char *data;
    size_t len;
    dirty_reply *reply;
    if (l->stream != NULL)
        read_one(l);
    if (l->chunk != NULL) {
        assert_int_equal(dirty_reply_value(l->chunk, 0, &data, &len), DIRTY_BYTES);
        assert_memory_equal(data, "hi", 3);
    }
    bool open =
        l->stream != NULL && !l->told && !l->cut && !strchr("er", *l->scene->frames);
    if (l->client == NULL)
        return;
    int rc = dirty_callf(l->client, &reply, "app", "echo", "%d", 5);
    assert_int_equal(rc, open ? DIRTY_EINVALID : 0);
    if (rc == 0)
        assert_int_equal(dirty_reply_count(reply), 1);
    dirty_reply_free(reply);
}

static int lives;

static void live(const char *path, const scene *s, const int *order, bool uses) {
    life l = {.scene = s, .path = path};
    begin(&l);
    for (int i = 0; i < OPS; i++) {
        end(&l, order[i]);
        if (uses)
            use(&l);
    }
    dirty_reply_free(l.chunk); /* of a stream that was used after the old one went */
    lives++;
}

/* All orders of what is at `at` and behind. */
static void permute(int *order, int at, void (*each)(const int *order, void *arg),
                    void *arg) {
    if (at == OPS)
        each(order, arg);
    for (int i = at; i < OPS; i++) {
        int swapped = order[at];
        order[at] = order[i], order[i] = swapped;
        permute(order, at + 1, each, arg);
        swapped = order[at];
        order[at] = order[i], order[i] = swapped;
    }
}

static void each_scene(const int *order, void *arg) {
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
        for (int uses = 0; uses <= 1; uses++)
            live(arg, &scenes[i], order, uses);
}

static void a_blocking_client_and_what_it_made(void **state) {
    (void)state;
    fake f;
    int order[OPS] = {OP_CLIENT, OP_CLOSE, OP_STREAM, OP_REQUEST, OP_CHUNK};
    fake_start(&f, 64, serve, NULL);
    int before = rig_count_descriptors();
    permute(order, 0, each_scene, f.path);
    assert_int_equal(lives, 120 * 2 * (int)(sizeof scenes / sizeof *scenes));
    expect_descriptors(before);
    fake_stop(&f);
}

/* Streams that have ended are as good as none to their client: there may be many. */
static void streams_that_nobody_has_closed(void **state) {
    (void)state;
    rig r;
    dirty_stream *s[3];
    dirty_reply *chunk;
    rig_start(&r, serve, NULL, 20000);
    for (int i = 0; i < 3; i++) {
        dirty_request_reset(r.request, "app", i == 1 ? "cx" : "ce");
        assert_int_equal(dirty_stream_open(r.client, r.request, &s[i]), 0);
        assert_int_equal(dirty_stream_next(s[i], &chunk), 1);
        dirty_reply_free(chunk);
        assert_int_equal(dirty_stream_next(s[i], &chunk), i == 1 ? DIRTY_EAPP : 0);
    }
    dirty_free(r.client);
    r.client = NULL;
    for (int i = 0; i < 3; i++) { /* as before */
        assert_int_equal(dirty_stream_next(s[i], &chunk), i == 1 ? DIRTY_EAPP : 0);
        dirty_stream_close(s[i]);
    }
    rig_stop(&r);
}

/* Another call of the same request object is not the stream's. */
static void a_request_that_is_used_again(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    dirty_reply *chunk;
    rig_start(&r, serve, NULL, 20000);
    dirty_request_reset(r.request, "app", "cq");
    assert_int_equal(dirty_stream_open(r.client, r.request, &s), 0);
    dirty_request_reset(r.request, "another", "thing");
    assert_int_equal(dirty_stream_next(s, &chunk), 1);
    dirty_reply_free(chunk);
    assert_int_equal(dirty_stream_next(s, &chunk), DIRTY_ECONNECTION);
    assert_non_null(strstr(dirty_err_details(r.client), "\"app\":\"app\""));
    dirty_stream_close(s);
    rig_stop(&r);
}

/* dirty_close ends an open stream at once: nobody waits for what can't come. */
static void a_closed_client_has_no_stream(void **state) {
    (void)state;
    rig r;
    dirty_stream *s;
    dirty_reply *chunk;
    rig_start(&r, serve, NULL, 20000);
    dirty_request_reset(r.request, "app", "c");
    assert_int_equal(dirty_stream_open(r.client, r.request, &s), 0);
    assert_int_equal(dirty_stream_next(s, &chunk), 1);
    dirty_reply_free(chunk);
    dirty_close(r.client);
    uint64_t begun_ns = dirty_now_ns();
    assert_int_equal(dirty_stream_next(s, &chunk), DIRTY_ECANCELLED);
    assert_true(dirty_now_ns() - begun_ns < 10000 * DIRTY_NS_PER_MS);
    assert_non_null(strstr(dirty_errmsg(r.client), "dirty_close"));
    assert_string_equal(dirty_err_started(r.client), "yes");
    /* and closing the stream does not end the connection that the client has now */
    dirty_request_reset(r.request, "app", "echo");
    assert_int_equal(rig_call(&r), 0);
    int connections = r.server.connections;
    dirty_stream_close(s);
    assert_int_equal(rig_call(&r), 0);
    assert_int_equal(r.server.connections, connections);
    rig_stop(&r);
}

/* -- The event-driven client --------------------------------------------------------- */

#define CALLBACKS_MAX 5

typedef struct events {
    int count, ends;
    int free_at; /* the callback that frees the client */
    char *bytes; /* that the request borrows, until its last callback */
    dirty_reply *taken[CALLBACKS_MAX];
} events;

static void take_all(dirty_async *a, dirty_outcome *o, void *arg) {
    events *e = arg;
    assert_in_range(e->count, 0, CALLBACKS_MAX - 1);
    e->taken[e->count++] = dirty_outcome_take(o);
    if (!o->more) {
        e->ends++;
        free(e->bytes);
        e->bytes = NULL;
    }
    if (e->count == e->free_at)
        dirty_async_free(a);
}

static dirty_async *open_async(const fake *f) {
    dirty_async_options options;
    dirty_async *a;
    dirty_async_options_init(&options);
    options.client.socket = f->path;
    options.max_connections = 1; /* the server serves one after the other */
    assert_int_equal(dirty_async_open(&a, &options), 0);
    return a;
}

static void begin_stream(dirty_async *a, events *e, const char *frames) {
    dirty_request *r;
    e->bytes = malloc(100);
    memset(e->bytes, 'b', 100);
    assert_int_equal(dirty_request_new(&r, "app", frames), 0);
    dirty_request_add_bytes(r, e->bytes, 100);
    assert_int_equal(dirty_async_stream(a, r, take_all, e, NULL), 0);
}

/* Until there were so many callbacks. */
static void run_until(dirty_async *a, const events *e, int count) {
    while (e->count < count) {
        struct pollfd p = {.fd = dirty_async_fd(a), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
        dirty_async_ready(a);
    }
}

static void check_taken(events *e) {
    const char *data;
    size_t len;
    assert_int_equal(e->ends, 1); /* by the end, or cancelled */
    for (int i = 0; i < e->count; i++) {
        if (e->taken[i] != NULL) {
            assert_int_equal(dirty_reply_value(e->taken[i], 0, &data, &len), DIRTY_BYTES);
            assert_memory_equal(data, "hi", 3);
        }
        dirty_reply_free(e->taken[i]);
    }
}

/* The client goes inside the callback of that number, or behind it; what was taken from
 * its outcomes is freed after it. A second call waits meanwhile. */
static void an_event_driven_client_and_what_it_gave(void **state) {
    (void)state;
    static const char *const frames[] = {"ccce", "ccx", "cq", "r", "e"};
    fake f;
    fake_start(&f, 64, serve, NULL);
    int before = rig_count_descriptors();
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
        for (int at = 0; at <= (int)strlen(frames[i]); at++)
            for (int inside = 0; inside <= (at > 0); inside++) {
                events e = {.free_at = inside ? at : 0}, other = {0};
                dirty_async *a = open_async(&f);
                begin_stream(a, &e, frames[i]);
                begin_stream(a, &other, "ce");
                run_until(a, &e, at);
                if (!inside)
                    dirty_async_free(a);
                check_taken(&e);
                check_taken(&other);
            }
    expect_descriptors(before);
    fake_stop(&f);
}

/* -- Nothing ------------------------------------------------------------------------- */

static void nothing_is_ended_without_harm(void **state) {
    (void)state;
    dirty_reply *chunk;
    dirty_free(NULL);
    dirty_close(NULL);
    dirty_stream_close(NULL);
    dirty_request_free(NULL);
    dirty_reply_free(NULL);
    dirty_async_free(NULL);
    dirty_runtime_free(NULL);
    assert_int_equal(dirty_stream_next(NULL, &chunk), DIRTY_EINVALID);
    assert_int_equal(dirty_async_pending(NULL), 0);
    dirty_async_ready(NULL);
    assert_int_equal(dirty_async_cancel(NULL, 1), DIRTY_EINVALID);
    assert_int_equal(dirty_async_pause(NULL, 1, 1), DIRTY_EINVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blocking_client_and_what_it_made),
        cmocka_unit_test(streams_that_nobody_has_closed),
        cmocka_unit_test(a_request_that_is_used_again),
        cmocka_unit_test(a_closed_client_has_no_stream),
        cmocka_unit_test(an_event_driven_client_and_what_it_gave),
        cmocka_unit_test(nothing_is_ended_without_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
