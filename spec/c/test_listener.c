/* The arbiter's socket while its file is removed, and one that the supervisor hands over.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arbiter_rig.h"
#include "base/endpoint.h"
#include "base/log.h"
#include "base/report.h"

static void serves(int fd, uint64_t id) {
    rig_call(fd, id, "t", "value");
    rig_expect_value(fd, id);
}

static void wait_for_file(const char *path, ino_t not_this) {
    struct stat st;
    for (int i = 0; i < 1000; i++) {
        if (lstat(path, &st) == 0 && st.st_ino != not_this)
            return;
        usleep(10000);
    }
    fail_msg("no new file at %s", path);
}

/* Without a supervisor the arbiter itself looks. */
static void a_removed_socket_is_bound_again(void **state) {
    rig *r = *state;
    struct stat st;
    rig_start(r);
    int kept = rig_connect(r);
    serves(kept, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stat(r->socket, &st), 0); /* its number is not free before */
        assert_int_equal(unlink(r->socket), 0);
        wait_for_file(r->socket, st.st_ino);
        int fd = rig_connect(r);
        serves(fd, 1);
        serves(kept, 2);
        close(fd);
    }
    rig_wait_status(r, "\"socket_binds\":2,\"socket_trouble\":null");
    close(kept);
    rig_stop(r, 0);
    assert_int_equal(access(r->socket, F_OK), -1);
}

static void what_another_has_put_there_is_told_and_stays(void **state) {
    rig *r = *state;
    rig_start(r);
    rig other = *r;
    snprintf(other.socket, sizeof other.socket, "%s/moved", r->dir);
    assert_int_equal(rename(r->socket, other.socket),
                     0); /* it can still be asked there */
    close(creat(r->socket, 0600));
    rig_wait_status(&other, "\"socket_trouble\":\"another file is at its path");
    assert_int_equal(unlink(r->socket), 0);
    wait_for_file(r->socket, 0);
    rig_wait_status(r, "\"socket_trouble\":null");
    assert_int_equal(unlink(other.socket), 0);
    rig_stop(r, 0);
}

/* -- With a supervisor, played by the test ---------------------------------------------
 */

typedef struct played {
    rig r;
    dirty_endpoint endpoint;
    int report[2];
} played;

static void start_played(played *p) {
    rig_init(&p->r);
    dirty_endpoint_options o = {
        .path = p->r.socket, .mode = 0600, .uid = -1, .gid = -1, .backlog = 8};
    assert_int_equal(dirty_endpoint_open(&p->endpoint, &o), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p->report), 0);
    p->r.o.listen_fd = p->endpoint.fd;
    p->r.o.report_fd = p->report[1];
    p->r.o.supervisor_pid = getpid();
    p->r.o.last_exit = "";
    rig_start(&p->r);
    close(p->report[1]);
}

static void stop_played(played *p) {
    dirty_endpoint_close(&p->endpoint);
    rig_stop(&p->r, 0);
    close(p->report[0]);
}

/* Whether the arbiter says it within `ms`. */
static bool is_said(played *p, dirty_report_kind kind, int ms) {
    dirty_report r;
    struct pollfd input = {.fd = p->report[0], .events = POLLIN};
    while (poll(&input, 1, ms) == 1)
        if (dirty_report_take(p->report[0], &r) <= 0 || r.kind == (uint32_t)kind)
            return r.kind == (uint32_t)kind;
    return false;
}

static void say(played *p, dirty_report_kind kind, uint32_t number, const char *text,
                const int *passed) {
    dirty_report r = {.kind = kind, .within_ms = number};
    snprintf(r.text, sizeof r.text, "%s", text);
    assert_int_equal(dirty_report_send_with(p->report[0], &r, passed, passed ? 2 : 0), 0);
}

static void a_new_socket_is_taken_from_the_supervisor(void **state) {
    (void)state;
    played p;
    int former;
    start_played(&p);
    int kept = rig_connect(&p.r);
    serves(kept, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(unlink(p.r.socket), 0);
        assert_true(dirty_endpoint_look(&p.endpoint, &former));
        close(former);
        const int passed[] = {p.endpoint.fd, p.endpoint.file_fd};
        say(&p, DIRTY_REPORT_SOCKET, 1, "", passed);
        say(&p, DIRTY_REPORT_SOCKET, 1, "", passed); /* the same is no harm */
        assert_true(is_said(&p, DIRTY_REPORT_LISTENS, 10000));
        assert_true(is_said(&p, DIRTY_REPORT_LISTENS, 10000));
        int fd = rig_connect(&p.r);
        serves(fd, 1);
        close(fd);
    }
    serves(kept, 2);
    close(kept);
    stop_played(&p);
}

/* It had none free for it, or something else came: it does not say that it listens. */
static void a_socket_that_does_not_come_is_not_taken_for_one(void **state) {
    (void)state;
    played p;
    int pipe_ends[2];
    start_played(&p);
    say(&p, DIRTY_REPORT_SOCKET, 1, "", NULL);
    assert_int_equal(pipe(pipe_ends), 0);
    say(&p, DIRTY_REPORT_LOG, 0, "",
        (int[]){pipe_ends[1], pipe_ends[1]}); /* nor taken where none belongs */
    close(pipe_ends[1]);
    char byte;
    assert_int_equal(read(pipe_ends[0], &byte, 1), 0); /* it has closed it */
    close(pipe_ends[0]);
    assert_false(is_said(&p, DIRTY_REPORT_LISTENS, 0));
    say(&p, DIRTY_REPORT_SOCKET, 0, "something is wrong", NULL);
    assert_true(is_said(&p, DIRTY_REPORT_LISTENS, 10000));
    int fd = rig_connect(&p.r);
    serves(fd, 1);
    close(fd);
    stop_played(&p);
}

static void what_the_supervisor_says_is_in_the_status(void **state) {
    (void)state;
    played p;
    start_played(&p);
    rig_wait_status(&p.r, "\"socket_binds\":0,\"socket_trouble\":null");
    rig_wait_status(&p.r, "\"log\":{\"file\":null,\"opens\":0,\"trouble\":null}");
    say(&p, DIRTY_REPORT_SOCKET, 0, "its file is \"gone\"", NULL);
    rig_wait_status(&p.r, "\"socket_trouble\":\"its file is \\\"gone\\\"\"");
    say(&p, DIRTY_REPORT_SOCKET, 0, "", NULL);
    rig_wait_status(&p.r, "\"socket_trouble\":null");
    say(&p, DIRTY_REPORT_LOG, 0, "it is a link", NULL);
    rig_wait_status(&p.r,
                    "\"log\":{\"file\":null,\"opens\":1,\"trouble\":\"it is a link\"}");
    say(&p, DIRTY_REPORT_LOG, 0, "", NULL);
    rig_wait_status(&p.r, "\"log\":{\"file\":null,\"opens\":2,\"trouble\":null}");
    stop_played(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        RIG_TEST(a_removed_socket_is_bound_again),
        RIG_TEST(what_another_has_put_there_is_told_and_stays),
        cmocka_unit_test(a_new_socket_is_taken_from_the_supervisor),
        cmocka_unit_test(a_socket_that_does_not_come_is_not_taken_for_one),
        cmocka_unit_test(what_the_supervisor_says_is_in_the_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
