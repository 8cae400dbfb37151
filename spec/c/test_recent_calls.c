/* The ring of the last failed and slow calls, written by one process and read by another.
 */
#include "harness.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/recent_calls.h"

#define READS 20000
#define WAIT_NS (20000 * DIRTY_NS_PER_MS)

static void add(dirty_recent_calls *ring, uint64_t n) {
    char text[DIRTY_RECENT_TRACEBACK + 100];
    memset(text, 'a' + (int)(n % 26), sizeof text);
    dirty_recent_add(ring, &(dirty_recent_facts){.ended_ns = n,
                                                 .queue_ns = n,
                                                 .run_ns = n,
                                                 .code = (uint32_t)n,
                                                 .app = {text, 10},
                                                 .action = {text, 20},
                                                 .message = {text, sizeof text},
                                                 .traceback = {text, sizeof text}});
}

/* All parts are of the same call. */
static void assert_whole(const dirty_recent_call *c) {
    char letter = (char)('a' + c->ended_ns % 26);
    assert_int_equal(c->queue_ns, c->ended_ns);
    assert_int_equal(c->run_ns, c->ended_ns);
    assert_int_equal(c->code, (uint32_t)c->ended_ns);
    assert_int_equal(strlen(c->app), 10);
    assert_int_equal(strlen(c->action), 20);
    assert_int_equal(strlen(c->message), DIRTY_RECENT_MESSAGE - 1);
    assert_int_equal(strlen(c->traceback), DIRTY_RECENT_TRACEBACK - 1);
    assert_int_equal(strspn(c->message, (char[]){letter, 0}), DIRTY_RECENT_MESSAGE - 1);
    assert_int_equal(strspn(c->traceback, (char[]){letter, 0}),
                     DIRTY_RECENT_TRACEBACK - 1);
}

static void the_last_calls_stay(void **state) {
    (void)state;
    dirty_recent_calls *ring = calloc(1, sizeof *ring);
    dirty_recent_call c;
    for (uint32_t i = 0; i < DIRTY_RECENT_CALLS; i++)
        assert_false(dirty_recent_copy(ring, i, &c));
    for (uint64_t n = 1; n <= 3 * DIRTY_RECENT_CALLS + 5; n++)
        add(ring, n);
    uint64_t sum = 0, expected = 0;
    for (uint32_t i = 0; i < DIRTY_RECENT_CALLS; i++) {
        assert_true(dirty_recent_copy(ring, i, &c));
        assert_whole(&c);
        assert_int_equal(dirty_recent_ended_ns(ring, i), c.ended_ns);
        sum += c.ended_ns;
        expected += 2 * DIRTY_RECENT_CALLS + 6 + i;
    }
    assert_int_equal(sum, expected);
    free(ring);
}

static void a_reader_gets_whole_entries(void **state) {
    (void)state;
    dirty_recent_calls *ring = mmap(NULL, sizeof *ring, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(ring, MAP_FAILED);
    pid_t writer = fork();
    if (writer == 0)
        for (uint64_t n = 1;; n++)
            add(ring, n);
    uint64_t until_ns = dirty_now_ns() + WAIT_NS;
    for (uint32_t got = 0; got < READS;) {
        dirty_recent_call c;
        assert_true(dirty_now_ns() < until_ns);
        if (!dirty_recent_copy(ring, got % DIRTY_RECENT_CALLS, &c))
            continue;
        assert_whole(&c);
        got++;
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    munmap(ring, sizeof *ring);
}

/* What an app has overwritten is cut, not followed. */
static void garbage_has_an_end(void **state) {
    (void)state;
    dirty_recent_calls *ring = malloc(sizeof *ring);
    dirty_recent_call c;
    memset((void *)ring, 0xff, sizeof *ring);
    assert_true(dirty_recent_copy(ring, 0, &c));
    assert_int_equal(strlen(c.app), DIRTY_RECENT_NAME - 1);
    assert_int_equal(strlen(c.action), DIRTY_RECENT_NAME - 1);
    assert_int_equal(strlen(c.message), DIRTY_RECENT_MESSAGE - 1);
    assert_int_equal(strlen(c.traceback), DIRTY_RECENT_TRACEBACK - 1);
    add(ring, 1); /* and the writer goes on */
    free(ring);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_calls_stay),
        cmocka_unit_test(a_reader_gets_whole_entries),
        cmocka_unit_test(garbage_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
