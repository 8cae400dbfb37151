/* What becomes of libdirty's calls when the Nth allocation fails, for each N until all
 * goes well: a typed failure or a success, every callback once, and nothing kept. */
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/alloc.h"
#include "client_rig.h"

#define CALLS 4
#define CHUNKS 3

/* -- Memory and epoll, given by this program ----------------------------------------- */

static int fail_at;    /* the allocation that fails, counted down; 0: none */
static int blocks;     /* allocated and not freed */
static int epoll_skip; /* so many calls of epoll_ctl go well */
static int epoll_fail; /* so many after them fail */

void *dirty_realloc(void *p, size_t size) {
    if (fail_at > 0 && --fail_at == 0)
        return NULL;
    void *now = realloc(p, size);
    blocks += p == NULL && now != NULL;
    return now;
}

void dirty_dealloc(void *p) {
    blocks -= p != NULL;
    free(p);
}

int epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event) {
    if (op != EPOLL_CTL_DEL && epoll_skip > 0) {
        epoll_skip--;
    } else if (op != EPOLL_CTL_DEL && epoll_fail > 0) {
        epoll_fail--;
        errno = ENOMEM;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll_fd, op, fd, event);
}

/* -- The server ------------------------------------------------------------------------
 */

static const uint8_t a_chunk[] = {0, 1, 'b', 0, 0, 0, 2, 'h', 'i'};

/* Serve by the name of the action: "echo", "fail" or "stream". */
static void serve(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd)) {
        char action = f->route.action.base[0];
        for (int i = 0; action == 's' && i < CHUNKS; i++)
            fake_send_frame(f, fd, DIRTY_FRAME_CHUNK, a_chunk, sizeof a_chunk);
        if (action == 's')
            fake_send_frame(f, fd, DIRTY_FRAME_END, NULL, 0);
        else if (action == 'f')
            fake_send_error(f, fd, 3, "boom", "{\"started\":\"yes\"}");
        else
            fake_echo(f, fd);
    }
}

/* -- A life of each kind ---------------------------------------------------------------
 */

/* More arguments than fit the first room, and more values than a reply has room for. */
static int add_arguments(dirty_request *r) {
    int rc = dirty_request_addf(r, "%s %d %f %t %n %j", "text", 1, 0.5, 1, "{}");
    for (int i = 0; rc == 0 && i < 6; i++)
        rc = dirty_request_add_integer(r, i);
    return rc;
}

static int open_client(dirty_client **c, const char *path) {
    dirty_options o;
    dirty_options_init(&o);
    o.socket = path;
    int rc = dirty_open(c, &o);
    assert_int_equal(rc, dirty_err(*c));
    return rc;
}

static int call_once(const char *path) {
    dirty_client *c;
    dirty_reply *reply = NULL;
    int rc = open_client(&c, path);
    if (rc == 0)
        rc = dirty_callf(c, &reply, "app", "echo", "%s %s %s %s %s", "1", "2", "3", "4",
                         "5");
    assert_int_equal(rc == 0, reply != NULL);
    dirty_reply_free(reply);
    dirty_free(c);
    return rc;
}

static int fail_once(const char *path) {
    dirty_client *c;
    dirty_reply *reply = NULL;
    int rc = open_client(&c, path);
    if (rc == 0)
        rc = dirty_callf(c, &reply, "app", "fail", "%d", 1);
    assert_null(reply);
    assert_int_equal(rc, dirty_err(c));
    dirty_free(c);
    return rc == DIRTY_EAPP ? 0 : rc;
}

static int read_stream(dirty_stream *s) {
    dirty_reply *chunk;
    int rc, count = 0;
    while ((rc = dirty_stream_next(s, &chunk)) > 0) {
        dirty_reply_free(chunk);
        count++;
    }
    assert_true(rc < 0 || count == CHUNKS);
    return rc;
}

static int stream_once(const char *path) {
    dirty_client *c;
    dirty_request *r = NULL;
    dirty_stream *s = NULL;
    int rc = open_client(&c, path);
    if (rc == 0)
        rc = dirty_request_new(&r, "app", "stream");
    if (rc == 0 && (rc = add_arguments(r)) == 0)
        rc = dirty_stream_open(c, r, &s);
    if (rc == 0)
        rc = read_stream(s);
    dirty_stream_close(s);
    dirty_request_free(r);
    dirty_free(c);
    return rc;
}

typedef struct outcomes {
    int accepted, ended, failed;
} outcomes;

static void note(dirty_async *a, dirty_outcome *o, void *arg) {
    outcomes *n = arg;
    (void)a;
    if (o->more)
        return;
    n->ended++;
    assert_true(o->err == 0 || o->err == DIRTY_EMEMORY || o->err == DIRTY_EAPP);
    assert_int_equal(o->err == DIRTY_EMEMORY || o->err == DIRTY_EAPP, o->message_len > 0);
    if (o->err == DIRTY_EMEMORY)
        n->failed++;
    dirty_reply_free(dirty_outcome_take(o));
}

static void start_one(dirty_async *a, int i, outcomes *n) {
    static const char *const actions[CALLS] = {"echo", "stream", "fail", "echo"};
    dirty_request *r = NULL;
    int rc = dirty_request_new(&r, "app", actions[i]);
    if (rc == 0 && (rc = add_arguments(r)) == 0)
        rc = (actions[i][0] == 's' ? dirty_async_stream : dirty_async_call)(a, r, note, n,
                                                                            NULL);
    n->accepted += rc == 0;
    n->failed += rc < 0;
    if (rc < 0) {
        assert_int_equal(rc, DIRTY_EMEMORY);
        dirty_request_free(r);
    }
}

static void run(dirty_async *a) {
    uint64_t until_ns = dirty_now_ns() + 20000 * DIRTY_NS_PER_MS;
    while (dirty_async_pending(a) > 0 && dirty_now_ns() < until_ns) {
        struct pollfd p = {.fd = dirty_async_fd(a), .events = POLLIN};
        poll(&p, 1, 1000);
        dirty_async_ready(a);
    }
}

/* Calls by a pool of one connection, so that some wait. */
static int call_async(const char *path) {
    dirty_async *a;
    dirty_async_options o;
    outcomes n = {0};
    dirty_async_options_init(&o);
    o.client.socket = path;
    o.max_connections = 1;
    int rc = dirty_async_open(&a, &o);
    assert_int_equal(rc, dirty_async_err(a));
    if (rc < 0) {
        assert_true(strlen(dirty_async_errmsg(a)) > 0);
        dirty_async_free(a);
        return rc;
    }
    for (int i = 0; i < CALLS; i++)
        start_one(a, i, &n);
    run(a);
    dirty_async_free(a);
    assert_int_equal(n.ended, n.accepted);
    return n.failed > 0 ? DIRTY_EMEMORY : 0;
}

/* A program that ends at once, so that what follows the allocations is quick. */
static int spawn_once(const char *path) {
    static const char *const apps[] = {"a", "b", NULL}, *const args[] = {"--workers",
                                                                         NULL};
    dirty_runtime *rt;
    dirty_spawn_options o;
    dirty_spawn_options_init(&o);
    o.program = "/bin/true";
    o.socket = path;
    o.apps = apps;
    o.args = args;
    int rc = dirty_spawn(&rt, &o);
    assert_int_equal(rc, dirty_runtime_err(rt));
    assert_true(strlen(dirty_runtime_errmsg(rt)) > 0);
    dirty_runtime_free(rt);
    return rc == DIRTY_EINVALID ? 0 : rc;
}

/* -- Each N ----------------------------------------------------------------------------
 */

static void fail_each(int (*life)(const char *path), int least) {
    fake server;
    int nth = 0, rc;
    fake_start(&server, 16, serve, NULL);
    int before = rig_count_descriptors();
    do {
        fail_at = ++nth;
        rc = life(server.path);
        assert_true(rc == 0 || rc == DIRTY_EMEMORY);
        assert_int_equal(blocks, 0);
        assert_in_range(nth, 1, 100);
    } while (rc != 0);
    assert_in_range(fail_at, 1, nth); /* the last went well without meeting its end */
    fail_at = 0;
    assert_in_range(nth, least + 1, 100);
    fake_await_closed(&server, atomic_load(&server.connections));
    assert_int_equal(rig_count_descriptors(), before);
    fake_stop(&server);
}

static void test_a_call(void **state) {
    (void)state;
    fail_each(call_once, 5);
}

static void test_a_call_that_fails(void **state) {
    (void)state;
    fail_each(fail_once, 4);
}

static void test_a_stream(void **state) {
    (void)state;
    fail_each(stream_once, 3 + 1 + CHUNKS);
}

static void test_calls_by_events(void **state) {
    (void)state;
    fail_each(call_async, 1 + CALLS * 3);
}

static void test_a_runtime(void **state) {
    (void)state;
    fail_each(spawn_once, 3);
}

static void test_a_kernel_without_memory_for_epoll(void **state) {
    (void)state;
    fake server;
    fake_start(&server, 16, serve, NULL);
    epoll_fail = 1;
    assert_int_equal(call_async(server.path), DIRTY_EMEMORY); /* it can't be opened */
    for (int fails = 1; fails < 12; fails++) {
        epoll_skip = 1;
        epoll_fail = fails;
        assert_int_equal(call_async(server.path), 0);
        epoll_fail = 0;
    }
    assert_int_equal(blocks, 0);
    fake_stop(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call),
        cmocka_unit_test(test_a_call_that_fails),
        cmocka_unit_test(test_a_stream),
        cmocka_unit_test(test_calls_by_events),
        cmocka_unit_test(test_a_runtime),
        cmocka_unit_test(test_a_kernel_without_memory_for_epoll),
    };
    return cmocka_run_group_tests_name("client memory", tests, NULL, NULL);
}
