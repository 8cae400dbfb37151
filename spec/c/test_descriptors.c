/* What is closed of a process's descriptors. Each test closes those of a child of its
 * own. */
#include "harness.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/descriptors.h"

#define GIVEN_MAX 64 /* as many are recorded */
#define FIRST 100    /* number of the first descriptor of these tests */

static bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

/* As one that came through an exec. */
static void open_at(int fd, const char *path) {
    int any = open(path, O_RDONLY);
    if (any == fd)
        return;
    if (any < 0 || dup2(any, fd) != fd)
        _exit(2);
    close(any);
}

/* Exit status of a child that does this. */
static int in_a_child(int (*act)(void)) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        close_range(3, ~0u, 0);
        _exit(act());
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int close_but_some(void) {
    int keep[] = {FIRST + 3, -1, FIRST + 1, 1, FIRST + 2, 3};
    for (int i = 0; i < 6; i++)
        open_at(FIRST + i, "/dev/null");
    open_at(3, "/dev/null");
    open_at(4, "/dev/null");
    dirty_descriptors_close_but(keep, sizeof keep / sizeof *keep);
    return is_open(0) && is_open(1) && is_open(2) && is_open(3) && !is_open(4) &&
           !is_open(FIRST) && is_open(FIRST + 1) && is_open(FIRST + 2) &&
           is_open(FIRST + 3) && !is_open(FIRST + 4) && !is_open(FIRST + 5);
}

static void all_but_those_to_keep_are_closed(void **state) {
    (void)state;
    assert_int_equal(in_a_child(close_but_some), 1);
}

static int close_but_none(void) {
    open_at(3, "/dev/null");
    open_at(FIRST, "/dev/null");
    int keep = -1;
    dirty_descriptors_close_but(&keep, 1);
    return is_open(2) && !is_open(3) && !is_open(FIRST);
}

static void with_none_to_keep_stdio_stays(void **state) {
    (void)state;
    assert_int_equal(in_a_child(close_but_none), 1);
}

static int close_given(void) {
    for (int fd = 3; fd < 7; fd++)
        open_at(fd, "/dev/null");
    dirty_descriptors_note_given();
    close(4);
    open_at(4, "/dev/zero"); /* another file of the same file system, by a number that was
                                given */
    open_at(6, "/");         /* … and of another file system */
    open_at(FIRST, "/dev/null"); /* our own */
    dirty_descriptors_close_given();
    bool closed = !is_open(3) && !is_open(5) && is_open(0) && is_open(1) && is_open(2);
    bool kept = is_open(4) && is_open(6) && is_open(FIRST);
    open_at(3, "/dev/null"); /* those that were closed are forgotten */
    dirty_descriptors_close_given();
    return closed && kept && is_open(3);
}

static void given_ones_are_closed_and_our_own_stay(void **state) {
    (void)state;
    assert_int_equal(in_a_child(close_given), 1);
}

/* How many of 70 that were given are closed. */
static int close_many(void) {
    int closed = 0;
    for (int i = 0; i < GIVEN_MAX + 6; i++)
        open_at(FIRST + i, "/dev/null");
    dirty_descriptors_note_given();
    dirty_descriptors_close_given();
    for (int i = 0; i < GIVEN_MAX + 6; i++)
        closed += !is_open(FIRST + i);
    return closed;
}

static void a_bounded_number_is_recorded(void **state) {
    (void)state;
    assert_int_equal(in_a_child(close_many), GIVEN_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_but_those_to_keep_are_closed),
        cmocka_unit_test(with_none_to_keep_stdio_stays),
        cmocka_unit_test(given_ones_are_closed_and_our_own_stay),
        cmocka_unit_test(a_bounded_number_is_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
