/* Which process is the host of a guest's code, and which is a child that it has forked.
 */
#include "harness.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/guest.h"

/* Wait for a child of the test's own and return its exit status. */
static int status_of(pid_t pid) {
    int status = 0;
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_host_and_children(void) {
    dirty_guest_end("the host goes on");
    pid_t pid = fork();
    if (pid == 0) {
        dirty_guest_end("the test");
        _exit(0);
    }
    assert_int_equal(status_of(pid), DIRTY_GUEST_ASTRAY);
    /* one that libc does not know of */
    pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0)
        _exit(dirty_guest_is_astray() ? 5 : 6);
    assert_int_equal(status_of(pid), 5);
    /* a child that is a host of its own, and has a child */
    pid = fork();
    if (pid == 0) {
        dirty_guest_begin();
        dirty_guest_end("the host goes on");
        pid = fork();
        if (pid == 0)
            _exit(dirty_guest_is_astray() ? 7 : 8);
        _exit(status_of(pid));
    }
    assert_int_equal(status_of(pid), 7);
    dirty_guest_end("the host goes on");
}

static void nobody_is_astray_before_one_has_begun(void **state) {
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(dirty_guest_is_astray() ? 1 : 0);
    assert_int_equal(status_of(pid), 0);
}

static void a_page_tells(void **state) {
    (void)state;
    dirty_guest_begin();
    dirty_guest_begin();
    assert_non_null((const void *)dirty__guest_host.mark);
    expect_host_and_children();
}

static void process_ids_tell_where_there_is_no_page(void **state) {
    (void)state;
    dirty_guest_host before = dirty__guest_host;
    dirty__guest_host = (dirty_guest_host){.pid = getpid()};
    expect_host_and_children();
    assert_null((const void *)dirty__guest_host.mark);
    dirty__guest_host = before;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_astray_before_one_has_begun),
        cmocka_unit_test(a_page_tells),
        cmocka_unit_test(process_ids_tell_where_there_is_no_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
