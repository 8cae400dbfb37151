/* The arbiter with scripted workers: dispatch, queue, the baton when a worker is killed
 * in each of its states, refusals, hang-ups, the end. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#include "arbiter_rig.h"
#include "base/channel.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/code.h"

static void answers_calls(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    for (uint64_t id = 1; id <= 100; id++) {
        rig_call(fd, id, "t", "value");
        rig_expect_value(fd, id);
    }
    close(fd);
    rig_wait_status(r, "\"values\":100,");
    rig_stop(r, 0);
}

static void takes_requests_split_anywhere(void **state) {
    rig *r = *state;
    uint8_t *request;
    rig_start(r);
    int fd = rig_connect(r);
    size_t len = rig_request(&request, 5, "t", "value", 0, 20);
    for (size_t at = 1; at < len; at++) {
        rig_send(fd, request, at);
        usleep(200); /* not needed for the outcome: makes two reads likely */
        rig_send(fd, request + at, len - at);
        rig_expect_value(fd, 5);
    }
    free(request);
    close(fd);
    rig_stop(r, 0);
}

static void answers_requests_sent_ahead_in_order(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    uint8_t *one;
    size_t len = rig_request(&one, 0, "t", "value", 0, 0);
    enum { COUNT = 2000 };
    uint8_t *all = malloc(len * COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        memcpy(all + i * len, one, len);
        all[i * len + 14] = (uint8_t)(i >> 8);
        all[i * len + 15] = (uint8_t)i;
    }
    rig_send(fd, all, len * COUNT);
    for (uint64_t i = 0; i < COUNT; i++)
        rig_expect_value(fd, i);
    free(one);
    free(all);
    close(fd);
    rig_stop(r, 0);
}

static void gives_big_requests_to_the_lane(void **state) {
    rig *r = *state;
    uint8_t *request;
    rig_start(r);
    int fd = rig_connect(r);
    size_t sizes[] = {8000, 8192, 8193, 100000, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t len = rig_request(&request, i, "t", "value", 0, sizes[i]);
        rig_send(fd, request, len);
        rig_expect_value(fd, i);
        free(request);
    }
    close(fd);
    rig_stop(r, 0);
}

/* -- kill -9 in each state of the baton
 * ---------------------------------------------------- */

static void kill_in(const char *action, size_t payload, int fd, rig *r) {
    uint8_t *request;
    size_t len = rig_request(&request, 9, "t", action, 0, payload);
    rig_send(fd, request, len);
    free(request);
    kill(rig_wait_held(r), SIGKILL);
}

/* The next request on this connection, and on a new one, is answered by a new worker. */
static void expect_recovery(rig *r, int fd) {
    int other = rig_connect(r);
    rig_call(other, 10, "t", "value");
    rig_expect_value(other, 10);
    close(other);
    if (fd >= 0) {
        rig_call(fd, 11, "t", "value");
        rig_expect_value(fd, 11);
    }
}

static void killed_while_reading(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    kill_in("hold-reading", 0, fd, r);
    char *details = rig_expect_error(fd, 9, DIRTY_CODE_WORKER_LOST);
    assert_non_null(strstr(details, "\"started\":\"no\""));
    assert_non_null(strstr(details, "\"signal_name\":\"SIGKILL\""));
    free(details);
    expect_recovery(r, fd);
    close(fd);
    rig_stop(r, 0);
}

static void killed_while_reading_a_big_request(void **state) {
    rig *r = *state;
    uint8_t *request;
    rig_start(r);
    int fd = rig_connect(r);
    size_t len = rig_request(&request, 9, "t", "hold-reading", 0, 50000);
    rig_send(fd, request, len);
    free(request);
    kill(rig_wait_held(r), SIGKILL);
    free(rig_expect_error(fd, 9, DIRTY_CODE_WORKER_LOST));
    rig_expect_end(fd);
    close(fd);
    expect_recovery(r, -1);
    rig_stop(r, 0);
}

static void killed_while_running(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    kill_in("hold-running", 100000, fd, r);
    char *details = rig_expect_error(fd, 9, DIRTY_CODE_WORKER_LOST);
    assert_non_null(strstr(details, "\"started\":\"yes\""));
    assert_non_null(strstr(details, "\"killed_by_runtime\":false"));
    free(details);
    expect_recovery(r, fd);
    close(fd);
    rig_stop(r, 0);
}

static void killed_while_writing(void **state) {
    rig *r = *state;
    dirty_frame f;
    uint8_t *payload;
    rig_start(r);
    int fd = rig_connect(r);
    kill_in("hold-writing", 0, fd, r);
    assert_int_equal(rig_read(fd, &f, &payload), -1);
    free(payload);
    close(fd);
    expect_recovery(r, -1);
    rig_wait_status(r, "\"WORKER_LOST\":1");
    rig_stop(r, 0);
}

static void killed_when_answered(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    kill_in("hold-answered", 0, fd, r);
    rig_expect_value(fd, 9);
    expect_recovery(r, fd);
    rig_wait_status(r, "\"errors\":{}");
    close(fd);
    rig_stop(r, 0);
}

/* What is left of a request in the socket must not be taken for the next one. */
static void killed_with_its_request_unread(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    kill_in("hold-running-unread", 100000, fd, r);
    free(rig_expect_error(fd, 9, DIRTY_CODE_WORKER_LOST));
    rig_expect_end(fd);
    close(fd);
    fd = rig_connect(r);
    kill_in("hold-answered-unread", 100000, fd, r);
    rig_expect_value(fd, 9);
    rig_expect_end(fd);
    close(fd);
    rig_stop(r, 0);
}

static void exit_status_is_told(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    rig_call(fd, 1, "t", "exit");
    char *details = rig_expect_error(fd, 1, DIRTY_CODE_WORKER_LOST);
    assert_non_null(strstr(details, "\"exit_status\":7"));
    free(details);
    expect_recovery(r, fd);
    close(fd);
    rig_stop(r, 0);
}

/* -- Deadlines
 * ------------------------------------------------------------------------------- */

static void call_with_budget(int fd, uint64_t id, const char *action, uint32_t ms) {
    uint8_t *request;
    size_t len = rig_request(&request, id, "t", action, ms, 0);
    rig_send(fd, request, len);
    free(request);
}

static void running_past_the_deadline(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    call_with_budget(fd, 4, "hold-running", 50);
    char *details = rig_expect_error(fd, 4, DIRTY_CODE_TIMEOUT);
    assert_non_null(strstr(details, "\"phase\":\"run\""));
    assert_non_null(strstr(details, "\"started\":\"yes\""));
    free(details);
    expect_recovery(r, fd);
    rig_wait_status(r, "\"killed\":1");
    close(fd);
    rig_stop(r, 0);
}

/* A call that holds its lane, with a budget of its own. Returns the connection. */
static int hold(rig *r, uint64_t id, const char *action, uint32_t budget_ms) {
    uint8_t *request;
    int fd = rig_connect(r);
    size_t len = rig_request(&request, id, "t", action, budget_ms, 0);
    rig_send(fd, request, len);
    free(request);
    rig_wait_held(r);
    return fd;
}

/* The first arbiter ends when a worker can't boot; one that takes its place tries again.
 */
static void a_boot_that_fails_after_a_restart(void **state) {
    rig *r = *state;
    char broken[80];
    snprintf(broken, sizeof broken, "%s/broken", r->dir);
    fclose(fopen(broken, "w"));
    r->apps[0].module = broken;
    r->o.restarts = 1;
    rig_start(r);
    int fd = rig_connect(r);
    rig_call(fd, 1, "t", "value");
    rig_wait_status(r, "init went wrong");
    unlink(broken);
    rig_expect_value(fd, 1);
    close(fd);
    rig_wait_status(r, "\"state\":\"serving\"");
    rig_stop(r, 0);
}

/* A lane may be late to take what it was given: it has not begun. */
static void given_to_a_lane_that_does_not_begin(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = hold(r, 1, "hold-reading", 100);
    char *details = rig_expect_error(fd, 1, DIRTY_CODE_TIMEOUT);
    assert_non_null(strstr(details, "was not started"));
    assert_non_null(strstr(details, "\"phase\":\"queue\""));
    assert_non_null(strstr(details, "\"started\":\"no\""));
    free(details);
    rig_call(fd, 2, "t", "value"); /* the connection goes on */
    rig_expect_value(fd, 2);
    close(fd);
    rig_stop(r, 0);
}

/* A worker with a stuck lane is kept for the callers of its other lanes, not longer. */
static void all_lanes_past_the_deadline(void **state) {
    rig *r = *state;
    r->o.threads = 2;
    r->o.graceful_timeout_ms = 60000;
    rig_start(r);
    int one = hold(r, 1, "hold-running", 100), two = hold(r, 2, "hold-running", 400);
    free(rig_expect_error(one, 1, DIRTY_CODE_TIMEOUT));
    free(rig_expect_error(two, 2, DIRTY_CODE_TIMEOUT));
    rig_call(one, 3, "t", "value");
    rig_expect_value(one, 3); /* by the replacement */
    close(one);
    close(two);
    rig_stop(r, 0);
}

/* A sibling that does not end within graceful_timeout is told whose fate it shares. */
static void a_sibling_of_a_stuck_lane(void **state) {
    rig *r = *state;
    r->o.threads = 2;
    r->o.graceful_timeout_ms = 200;
    rig_start(r);
    int one = hold(r, 1, "hold-running", 100), two = hold(r, 2, "hold-running", 0);
    free(rig_expect_error(one, 1, DIRTY_CODE_TIMEOUT));
    char *details = rig_expect_error(two, 2, DIRTY_CODE_WORKER_LOST);
    assert_non_null(strstr(details, "\"cause\":\"sibling\""));
    assert_non_null(strstr(details, "\"killed_by_runtime\":true"));
    assert_non_null(strstr(details, "\"started\":\"yes\""));
    assert_non_null(strstr(details, "another of its lanes was stuck"));
    free(details);
    close(one);
    close(two);
    rig_stop(r, 0);
}

static void a_stuck_worker_whose_last_caller_leaves(void **state) {
    rig *r = *state;
    r->o.threads = 2;
    r->o.graceful_timeout_ms = 60000;
    r->apps[0].cancel_on_disconnect = true;
    rig_start(r);
    int one = hold(r, 1, "hold-running", 100), two = hold(r, 2, "hold-running", 0);
    free(rig_expect_error(one, 1, DIRTY_CODE_TIMEOUT));
    close(two);
    rig_call(one, 3, "t", "value");
    rig_expect_value(one, 3);
    close(one);
    rig_stop(r, 0);
}

/* A graceful timeout of 0 is none at all: what runs is ended at once. */
static void a_stop_that_waits_for_nobody(void **state) {
    rig *r = *state;
    r->o.graceful_timeout_ms = 0;
    rig_start(r);
    int fd = hold(r, 1, "hold-running", 0);
    kill(r->pid, SIGTERM);
    free(rig_expect_error(fd, 1, DIRTY_CODE_SHUTDOWN));
    close(fd);
    rig_stop(r, 0);
}

static void waiting_past_the_deadline(void **state) {
    rig *r = *state;
    rig_start(r);
    int busy = rig_connect(r), fd = rig_connect(r);
    rig_call(busy, 1, "t", "hold-running");
    pid_t pid = rig_wait_held(r);
    call_with_budget(fd, 2, "value", 50);
    char *details = rig_expect_error(fd, 2, DIRTY_CODE_TIMEOUT);
    assert_non_null(strstr(details, "\"phase\":\"queue\""));
    assert_non_null(strstr(details, "\"started\":\"no\""));
    free(details);
    kill(pid, SIGKILL);
    free(rig_expect_error(busy, 1, DIRTY_CODE_WORKER_LOST));
    expect_recovery(r, fd);
    close(fd);
    close(busy);
    rig_stop(r, 0);
}

static void a_request_that_never_ends(void **state) {
    rig *r = *state;
    uint8_t *request;
    r->o.recv_timeout_ms = 100;
    rig_start(r);
    int fd = rig_connect(r);
    size_t len = rig_request(&request, 3, "t", "value", 0, 100);
    rig_send(fd, request, len - 1);
    char *details = rig_expect_error(fd, 3, DIRTY_CODE_TIMEOUT);
    assert_non_null(strstr(details, "\"phase\":\"receive\""));
    free(details);
    rig_expect_end(fd);
    free(request);
    close(fd);
    rig_stop(r, 0);
}

/* The time of recv_timeout counts once: what the arbiter has waited for the first bytes
 * is not given to the lane again. */
static void time_to_receive_does_not_begin_anew_in_the_lane(void **state) {
    rig *r = *state;
    uint8_t *request, *payload;
    dirty_frame f;
    r->o.recv_timeout_ms = 20000;
    rig_start(r);
    rig_wait_status(r, "\"state\":\"serving\"");
    int fd = rig_connect(r);
    size_t len = rig_request(&request, 3, "t", "receive-ms", 0, 20000);
    rig_send(fd, request, 100);
    for (int unread = 1, tries = 0; unread > 0; tries++) {
        assert_true(tries < 10000 && ioctl(fd, TIOCOUTQ, &unread) == 0);
        usleep(1000);
    }
    uint64_t until_ns = dirty_now_ns() + 1000 * DIRTY_NS_PER_MS;
    while (dirty_now_ns() < until_ns)
        usleep(1000);
    rig_send(fd, request + 100, len - 100);
    free(request);
    assert_int_equal(rig_read(fd, &f, &payload), 1);
    assert_int_equal(f.type, DIRTY_FRAME_RESPONSE);
    payload[f.payload_len] = '\0';
    assert_in_range(atoi((char *)payload + 7), 19999, 20900);
    free(payload);
    close(fd);
    rig_stop(r, 0);
}

/* -- Queue
 * ------------------------------------------------------------------------------------ */

static void waits_in_order_and_by_priority(void **state) {
    rig *r = *state;
    uint8_t *request;
    rig_start(r);
    int busy = rig_connect(r), fds[6];
    rig_call(busy, 1, "t", "hold-running");
    pid_t pid = rig_wait_held(r);
    uint8_t priorities[6] = {5, 9, 0, 5, 0, 5};
    int expected[6] = {2, 4, 0, 3, 5, 1};
    for (int i = 0; i < 6; i++) {
        char needle[40];
        fds[i] = rig_connect(r);
        size_t len = rig_request(&request, (uint64_t)i, "t", "slow", 0, 0);
        request[20] = priorities[i];
        rig_send(fds[i], request, len);
        free(request);
        snprintf(needle, sizeof needle, "\"queue\":{\"length\":%d,", i + 1);
        rig_wait_status(r, needle);
    }
    kill(pid, SIGKILL);
    for (int i = 0; i < 6; i++) {
        rig_expect_value(fds[expected[i]], (uint64_t)expected[i]);
        for (int k = i + 1; k < 6; k++) { /* nobody later has an answer yet */
            char byte;                    /* peeked */
            assert_true(recv(fds[expected[k]], &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0);
        }
    }
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    close(busy);
    rig_stop(r, 0);
}

static void a_full_queue_refuses_at_once(void **state) {
    rig *r = *state;
    r->o.max_queue = 1;
    rig_start(r);
    int busy = rig_connect(r), waits = rig_connect(r), fd = rig_connect(r);
    rig_call(busy, 1, "t", "hold-running");
    pid_t pid = rig_wait_held(r);
    rig_call(waits, 2, "t", "value");
    rig_wait_status(r, "\"queue\":{\"length\":1,");
    rig_call(fd, 3, "t", "value");
    char *details = rig_expect_error(fd, 3, DIRTY_CODE_OVERLOADED);
    assert_non_null(strstr(details, "\"retry_after_ms\":"));
    free(details);
    /* with a big payload the rest is unread: the connection ends after the answer */
    uint8_t *request;
    size_t len = rig_request(&request, 4, "t", "value", 0, 100000);
    rig_send(fd, request, len);
    free(rig_expect_error(fd, 4, DIRTY_CODE_OVERLOADED));
    rig_expect_end(fd);
    free(request);
    kill(pid, SIGKILL);
    rig_expect_value(waits, 2);
    close(busy);
    close(waits);
    close(fd);
    rig_stop(r, 0);
}

static void who_hangs_up_in_the_queue_never_runs(void **state) {
    rig *r = *state;
    rig_start(r);
    int busy = rig_connect(r), leaves = rig_connect(r), half = rig_connect(r);
    rig_call(busy, 1, "t", "hold-running");
    pid_t pid = rig_wait_held(r);
    rig_call(leaves, 2, "t", "exit");
    rig_call(half, 3, "t", "value");
    rig_wait_status(r, "\"queue\":{\"length\":2,");
    close(leaves);
    shutdown(half, SHUT_WR);
    rig_wait_status(r, "\"queue\":{\"length\":1,");
    rig_wait_status(r, "\"abandoned\":1,");
    kill(pid, SIGKILL);
    rig_expect_value(half, 3); /* a half-closed caller still gets its answer */
    rig_expect_end(half);
    close(half);
    close(busy);
    rig_stop(r, 0);
}

static void a_request_given_back_runs_elsewhere(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    rig_expect_text(fd, 1, "t", "returned", "2");
    rig_wait_status(r, "\"requeued\":1,");
    close(fd);
    rig_stop(r, 0);
}

/* … at once, where another lane is idle. */
static void a_request_given_back_goes_to_an_idle_lane(void **state) {
    rig *r = *state;
    r->o.workers = 2;
    rig_start(r);
    rig_wait_status(r, "\"state\":\"serving\"");
    int fd = rig_connect(r);
    rig_expect_text(fd, 1, "t", "returned", "1");
    rig_wait_status(r, "\"requeued\":1,");
    close(fd);
    rig_stop(r, 0);
}

static int ask_pid(int fd) {
    dirty_frame f;
    uint8_t *payload;
    rig_call(fd, 8, "t", "pid");
    assert_int_equal(rig_read(fd, &f, &payload), 1);
    assert_int_equal(f.type, DIRTY_FRAME_RESPONSE);
    payload[f.payload_len] = '\0';
    int pid = atoi((char *)payload + 7);
    free(payload);
    return pid;
}

/* Until it is dead, reaped or not: its sockets are closed. Of all its threads: the last
 * one closes the descriptors. */
static void wait_dead(int pid) {
    char path[64], text[512], state = 0;
    int threads = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (int tries = 0; state != 'Z' || threads != 1; tries++) {
        FILE *f = fopen(path, "r");
        char *read = f != NULL ? fgets(text, sizeof text, f) : NULL;
        if (f != NULL)
            fclose(f);
        if (read == NULL)
            return;
        assert_true(tries < 20000);
        /* proc(5): state is the 3rd field, num_threads the 20th; the 2nd ends in ')' */
        sscanf(strrchr(text, ')'),
               ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %d",
               &state, &threads);
        usleep(500);
    }
}

/* The arbiter may meet the dead lane before it hears of the death. */
static void a_lane_that_died_unnoticed(void **state) {
    rig *r = *state;
    r->o.workers = 2;
    rig_start(r);
    rig_wait_status(r, "\"state\":\"serving\"");
    int fd = rig_connect(r);
    for (int round = 0; round < 5; round++) {
        int victim = ask_pid(fd), wait_status; /* the lane used last is used next */
        char done[40];
        snprintf(done, sizeof done, "\"values\":%d,\"run_ms_mean\"", 2 * round + 1);
        rig_wait_status(r, done);
        kill(r->pid, SIGSTOP);
        waitpid(r->pid, &wait_status, WUNTRACED);
        rig_call(fd, 3, "t", "value");
        kill(victim, SIGKILL);
        wait_dead(victim);
        kill(r->pid, SIGCONT);
        rig_expect_value(fd, 3);
        rig_wait_status(r, "\"last_exit\":\"signal 9 (SIGKILL)\"");
    }
    rig_wait_status(r, "\"killed\":0,");
    close(fd);
    rig_stop(r, 0);
}

/* A worker that is not at one with the arbiter about what it does is not believed. */
static void words_about_another_request(void **state) {
    static const char *const actions[] = {"done-of-last", "done-of-next",
                                          "stalled-of-last", "stalled-of-next"};
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    for (uint64_t i = 0; i < 4; i++) {
        rig_call(fd, 1, "t", "value");
        rig_expect_value(fd, 1);
        rig_call(fd, 2 + i, "t", actions[i]);
        char *details = rig_expect_error(fd, 2 + i, DIRTY_CODE_WORKER_LOST);
        assert_non_null(strstr(details, "\"killed_by_runtime\":true"));
        assert_non_null(strstr(details, "\"started\":\"yes\""));
        free(details);
    }
    rig_call(fd, 4, "t", "value");
    rig_expect_value(fd, 4);
    rig_wait_status(r, "\"killed\":4,");
    close(fd);
    rig_stop(r, 0);
}

/* What apps have started ends with their worker, while the runtime goes on. */
static void the_group_of_a_dead_worker(void **state) {
    rig *r = *state;
    r->o.graceful_timeout_ms = 60000;
    rig_start(r);
    int fd = rig_connect(r);
    for (int round = 0; round < 2; round++) {
        int worker = ask_pid(fd);
        rig_call(fd, 1, "t", "keep-in-group");
        rig_expect_value(fd, 1);
        pid_t child = rig_wait_subreaper(r);
        if (round == 0) {
            rig_wait_status(r, "\"values\":2,"); /* it is done with writing */
            kill(worker, SIGKILL);
        } else {
            rig_call(fd, 2, "t", "exit");
            free(rig_expect_error(fd, 2, DIRTY_CODE_WORKER_LOST));
        }
        wait_dead(child);
        rig_call(fd, 3, "t", "value");
        rig_expect_value(fd, 3);
    }
    close(fd);
    rig_stop(r, 0);
}

/* -- Bad input
 * --------------------------------------------------------------------------------- */

static void garbage_is_told_and_ends_the_connection(void **state) {
    rig *r = *state;
    uint8_t *good;
    r->o.limits.max_message = 1000;
    rig_start(r);
    size_t len = rig_request(&good, 6, "t", "value", 0, 0);
    static const struct {
        size_t at;
        uint8_t byte;
        const char *fault;
    } cases[] = {{0, 'X', "BAD_MAGIC"},    {1, 'X', "BAD_MAGIC"}, {2, 9, "BAD_VERSION"},
                 {3, 2, "BAD_TYPE"},       {3, 99, "BAD_TYPE"},   {5, 1, "TOO_LONG"},
                 {20, 10, "BAD_PRIORITY"}, {21, 4, "BAD_FLAGS"},  {21, 2, "TRUNCATED"},
                 {24, 0, "BAD_NAME"},      {25, 0, "BAD_NAME"},   {26, ' ', "BAD_NAME"},
                 {26, 0, "BAD_NAME"},      {24, 200, "TRUNCATED"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bad[64];
        char needle[64];
        int fd = rig_connect(r);
        memcpy(bad, good, len);
        bad[cases[i].at] = cases[i].byte;
        rig_send(fd, bad, len);
        bool no_id = cases[i].at < 4 && strcmp(cases[i].fault, "TOO_LONG") != 0 &&
                     !(cases[i].at == 3 && cases[i].byte == 2);
        char *details = rig_expect_error(fd, no_id ? 0 : 6, DIRTY_CODE_PROTOCOL);
        snprintf(needle, sizeof needle, "\"fault\":\"%s\"", cases[i].fault);
        if (strstr(details, needle) == NULL)
            fail_msg("case %zu: %s", i, details);
        free(details);
        rig_expect_end(fd);
        close(fd);
    }
    free(good);
    expect_recovery(r, -1);
    rig_stop(r, 0);
}

static void truncation_at_every_byte(void **state) {
    rig *r = *state;
    uint8_t *request;
    rig_start(r);
    size_t len = rig_request(&request, 6, "t", "value", 0, 10);
    for (size_t at = 0; at < len; at++) {
        dirty_frame f;
        uint8_t *payload;
        int fd = rig_connect(r);
        rig_send(fd, request, at);
        shutdown(fd, SHUT_WR);
        if (at == 0) {
            assert_int_equal(rig_read(fd, &f, &payload), 0);
        } else {
            uint64_t id = at < DIRTY_FRAME_HEADER_LEN ? 0 : 6;
            free(rig_expect_error(fd, id, DIRTY_CODE_PROTOCOL));
            rig_expect_end(fd);
        }
        close(fd);
        fd = rig_connect(r); /* and gone altogether */
        rig_send(fd, request, at);
        close(fd);
    }
    free(request);
    expect_recovery(r, -1);
    rig_wait_status(r, "\"sessions\":1,");
    rig_stop(r, 0);
}

static void unknown_names(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    rig_call(fd, 1, "nope", "value");
    char *details = rig_expect_error(fd, 1, DIRTY_CODE_APP_NOT_FOUND);
    assert_non_null(strstr(details, "\"nope\""));
    assert_non_null(strstr(details, "served: t"));
    free(details);
    rig_call(fd, 2, "@nope", "status");
    free(rig_expect_error(fd, 2, DIRTY_CODE_APP_NOT_FOUND));
    rig_call(fd, 3, "@arbiter", "nope");
    free(rig_expect_error(fd, 3, DIRTY_CODE_ACTION_NOT_FOUND));
    rig_call(fd, 4, "t", "value");
    rig_expect_value(fd, 4);
    close(fd);
    rig_stop(r, 0);
}

/* -- Socket and rights
 * -------------------------------------------------------------------------- */

static void the_socket_is_private_by_default(void **state) {
    (void)state;
    rig r;
    struct stat st;
    rig_init(&r);
    rig_start(&r);
    assert_int_equal(stat(r.socket, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    rig_stop(&r, 0);
    rig_init(&r);
    r.o.socket_mode = 0660;
    rig_start(&r);
    assert_int_equal(stat(r.socket, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    rig_stop(&r, 0);
}

static void a_second_runtime_is_refused(void **state) {
    rig *r = *state, second;
    rig_start(r);
    rig_init(&second);
    second.o.socket_path = r->socket;
    pid_t pid = fork();
    if (pid == 0) {
        char path[96];
        snprintf(path, sizeof path, "%s/log", second.dir);
        dirty_log_open(path, DIRTY_LOG_DEBUG);
        _exit(dirty_arbiter_run(&second.o));
    }
    int wait_status;
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_int_equal(WEXITSTATUS(wait_status), DIRTY_EXIT_SOCKET);
    expect_recovery(r, -1);
    rig_stop(r, 0);
    rig_remove(&second);
}

static void a_stale_socket_is_replaced(void **state) {
    rig *r = *state;
    int wait_status;
    rig_start(r);
    rig_wait_status(r, "\"state\":\"serving\""); /* no child is half made */
    kill(r->pid, SIGKILL);
    waitpid(r->pid, &wait_status, 0);
    assert_int_equal(access(r->socket, F_OK), 0);
    rig_start(r);
    expect_recovery(r, -1);
    rig_stop(r, 0);
}

static void stop_is_for_the_owner(void **state) {
    rig *r = *state;
    if (geteuid() != 0)
        skip();
    r->o.socket_mode = 0666;
    assert_int_equal(chmod(r->dir, 0755), 0);
    rig_start(r);
    pid_t pid = fork();
    if (pid == 0) {
        if (setuid(65534) != 0)
            _exit(1);
        int fd = rig_connect(r);
        rig_call(fd, 1, "@arbiter", "stop");
        free(rig_expect_error(fd, 1, DIRTY_CODE_DENIED));
        rig_call(fd, 2, "@arbiter", "status");
        rig_expect_value(fd, 2);
        _exit(0);
    }
    int wait_status;
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_int_equal(wait_status, 0);
    int fd = rig_connect(r);
    rig_call(fd, 3, "@arbiter", "stop");
    rig_expect_value(fd, 3);
    close(fd);
    rig_stop(r, 0);
}

/* -- End
 * ------------------------------------------------------------------------------------------
 */

static void graceful_stop_finishes_what_was_accepted(void **state) {
    rig *r = *state;
    rig_start(r);
    int busy = rig_connect(r), late = rig_connect(r), fds[5];
    rig_call(busy, 6, "t", "hold-running");
    pid_t held = rig_wait_held(r);
    for (int i = 0; i < 5; i++) {
        fds[i] = rig_connect(r);
        rig_call(fds[i], (uint64_t)i, "t", "value");
    }
    rig_wait_status(r, "\"queue\":{\"length\":5,");
    rig_call(late, 7, "@arbiter", "status");
    rig_expect_value(late, 7);
    kill(r->pid, SIGTERM);
    while (access(r->socket, F_OK) == 0) /* until the signal is seen */
        usleep(1000);
    rig_call(late, 8, "t", "value");
    free(rig_expect_error(late, 8, DIRTY_CODE_SHUTDOWN));
    kill(held, SIGKILL); /* its place is filled once more for those that wait */
    free(rig_expect_error(busy, 6, DIRTY_CODE_WORKER_LOST));
    for (int i = 0; i < 5; i++) {
        rig_expect_value(fds[i], (uint64_t)i);
        close(fds[i]);
    }
    close(busy);
    close(late);
    rig_stop(r, 0);
}

static void quit_answers_what_runs_and_waits(void **state) {
    rig *r = *state;
    rig_start(r);
    int runs = rig_connect(r), waits = rig_connect(r);
    rig_call(runs, 1, "t", "hold-running");
    rig_wait_held(r);
    rig_call(waits, 2, "t", "value");
    rig_wait_status(r, "\"queue\":{\"length\":1,");
    kill(r->pid, SIGQUIT);
    char *details = rig_expect_error(runs, 1, DIRTY_CODE_SHUTDOWN);
    assert_non_null(strstr(details, "\"started\":\"yes\""));
    free(details);
    details = rig_expect_error(waits, 2, DIRTY_CODE_SHUTDOWN);
    assert_non_null(strstr(details, "\"started\":\"no\""));
    free(details);
    close(runs);
    close(waits);
    rig_stop(r, 0);
}

int main(int argc, char **argv) {
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        RIG_TEST(answers_calls),
        RIG_TEST(takes_requests_split_anywhere),
        RIG_TEST(answers_requests_sent_ahead_in_order),
        RIG_TEST(gives_big_requests_to_the_lane),
        RIG_TEST(killed_while_reading),
        RIG_TEST(killed_while_reading_a_big_request),
        RIG_TEST(killed_while_running),
        RIG_TEST(killed_while_writing),
        RIG_TEST(killed_when_answered),
        RIG_TEST(killed_with_its_request_unread),
        RIG_TEST(exit_status_is_told),
        RIG_TEST(running_past_the_deadline),
        RIG_TEST(a_boot_that_fails_after_a_restart),
        RIG_TEST(given_to_a_lane_that_does_not_begin),
        RIG_TEST(all_lanes_past_the_deadline),
        RIG_TEST(a_sibling_of_a_stuck_lane),
        RIG_TEST(a_stuck_worker_whose_last_caller_leaves),
        RIG_TEST(a_stop_that_waits_for_nobody),
        RIG_TEST(waiting_past_the_deadline),
        RIG_TEST(a_request_that_never_ends),
        RIG_TEST(time_to_receive_does_not_begin_anew_in_the_lane),
        RIG_TEST(waits_in_order_and_by_priority),
        RIG_TEST(a_full_queue_refuses_at_once),
        RIG_TEST(who_hangs_up_in_the_queue_never_runs),
        RIG_TEST(a_request_given_back_runs_elsewhere),
        RIG_TEST(a_request_given_back_goes_to_an_idle_lane),
        RIG_TEST(a_lane_that_died_unnoticed),
        RIG_TEST(words_about_another_request),
        RIG_TEST(the_group_of_a_dead_worker),
        RIG_TEST(garbage_is_told_and_ends_the_connection),
        RIG_TEST(truncation_at_every_byte),
        RIG_TEST(unknown_names),
        cmocka_unit_test(the_socket_is_private_by_default),
        RIG_TEST(a_second_runtime_is_refused),
        RIG_TEST(a_stale_socket_is_replaced),
        RIG_TEST(stop_is_for_the_owner),
        RIG_TEST(graceful_stop_finishes_what_was_accepted),
        RIG_TEST(quit_answers_what_runs_and_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
