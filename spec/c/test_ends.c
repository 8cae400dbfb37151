/* How the arbiter ends connections: at once, whoever else holds a descriptor of them, and
 * without losing what it said last. */
#include "harness.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arbiter_rig.h"
#include "wire/code.h"

/* What the linger of these tests would take, far more than the patience of the rig. */
#define LONG_MS 60000

/* -- A child of an app holds a duplicate ------------------------------------------- */

/* The connection has ended inside of a frame, while the child still has it open. */
static void expect_cut(int fd, pid_t child) {
    dirty_frame f;
    uint8_t *payload;
    assert_int_equal(rig_read(fd, &f, &payload), -1);
    free(payload);
    assert_int_equal(kill(child, SIGKILL), 0);
    close(fd);
}

static void kept_when_time_is_over(void **state) {
    (void)state;
    rig r;
    uint8_t *request;
    rig_init(&r);
    rig_start(&r);
    int fd = rig_connect(&r);
    size_t len = rig_request(&request, 1, "t", "keep-writing", 500, 0);
    rig_send(fd, request, len);
    free(request);
    expect_cut(fd, rig_wait_keeper(&r));
    rig_stop(&r, 0);
}

static void kept_when_the_worker_is_lost(void **state) {
    (void)state;
    rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = rig_connect(&r);
    rig_call(fd, 1, "t", "keep-writing");
    pid_t child = rig_wait_keeper(&r); /* it has left the group that is killed */
    kill(rig_wait_held(&r), SIGKILL);
    expect_cut(fd, child);
    rig_stop(&r, 0);
}

static void kept_when_the_caller_is_done(void **state) {
    (void)state;
    rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = rig_connect(&r);
    rig_call(fd, 1, "t", "keep");
    rig_expect_value(fd, 1);
    pid_t child = rig_wait_keeper(&r);
    shutdown(fd, SHUT_WR);
    rig_expect_end(fd);
    assert_int_equal(kill(child, SIGKILL), 0);
    close(fd);
    rig_stop(&r, 0);
}

/* -- An answer before the request was read ------------------------------------------ */

static void an_early_refusal_ends_at_once(void **state) {
    (void)state;
    rig r;
    uint8_t *request;
    rig_init(&r);
    r.o.linger_timeout_ms = LONG_MS;
    rig_start(&r);
    int fd = rig_connect(&r);
    size_t len = rig_request(&request, 1, "nobody", "value", 0, 100000);
    rig_send(fd, request, len / 2);
    free(rig_expect_error(fd, 1, DIRTY_CODE_APP_NOT_FOUND));
    rig_expect_end(fd);
    rig_send(fd, request + len / 2, len - len / 2); /* still taken, and thrown away */
    free(request);
    close(fd);
    rig_stop(&r, 0);
}

/* The refusal finds no room and is sent later: then too the connection ends with it. */
static void a_refusal_that_had_to_wait_ends_at_once(void **state) {
    (void)state;
    rig r;
    dirty_frame f;
    uint8_t *payload;
    rig_init(&r);
    r.o.linger_timeout_ms = LONG_MS;
    rig_start(&r);
    int fd = rig_connect(&r);
    rig_call(fd, 1, "t", "fill");
    rig_send(fd, "no such protocol", 16);
    rig_wait_status(&r, "\"PROTOCOL\":1");
    do {
        assert_int_equal(rig_read(fd, &f, &payload), 1);
        free(payload);
    } while (f.type == DIRTY_FRAME_CHUNK);
    assert_int_equal(f.type, DIRTY_FRAME_ERROR);
    rig_expect_end(fd);
    close(fd);
    rig_stop(&r, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_when_time_is_over),
        cmocka_unit_test(kept_when_the_worker_is_lost),
        cmocka_unit_test(kept_when_the_caller_is_done),
        cmocka_unit_test(an_early_refusal_ends_at_once),
        cmocka_unit_test(a_refusal_that_had_to_wait_ends_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
