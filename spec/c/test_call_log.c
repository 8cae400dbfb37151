/* Log lines about failed calls: one per kind and interval, and the count of the rest. */
#include "harness.h"

#include <unistd.h>

#include "base/call_log.h"
#include "base/clock.h"

static const dirty_call_words APP = {"APP", DIRTY_LOG_WARN, true};
static const dirty_call_words DENIED = {"DENIED", DIRTY_LOG_INFO, false};

static char path[64];
static dirty_call_log calls;

static int open_log(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/dirty-call-log-XXXXXX");
    int fd = mkstemp(path);
    calls = (dirty_call_log){0};
    return fd < 0 || close(fd) < 0 || dirty_log_open(path, DIRTY_LOG_INFO) < 0 ? -1 : 0;
}

static int close_log(void **state) {
    (void)state;
    dirty_log_open(NULL, DIRTY_LOG_INFO);
    return unlink(path);
}

/* How often the log has this text. */
static int count(const char *part) {
    static char text[1 << 20];
    int found = 0;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        found++;
    return found;
}

static void failed(const char *app, const char *message, const dirty_call_words *words) {
    dirty_recent_facts facts = {.code = 3,
                                .app = dirty_slice_cstr(app),
                                .action = dirty_slice_cstr("go"),
                                .message = dirty_slice_cstr(message),
                                .traceback = dirty_slice_cstr("here it was")};
    dirty_call_log_failed(&calls, &facts, words);
}

/* Let the interval of all kinds be over, and the bucket of lines full. */
static void pass_time(void) {
    for (size_t i = 0; i < DIRTY_CALL_LOG_KINDS; i++)
        calls.kinds[i].due_ns = 0;
    calls.lines = (dirty_bucket){0};
}

static void calls_that_differ_in_digits_are_alike(void **state) {
    (void)state;
    failed("shop", "no order 1", &APP);
    failed("shop", "no order 22", &APP);
    failed("shop", "no stock", &APP);
    failed("mail", "no order 1", &APP);
    assert_int_equal(count("msg=\"call failed\""), 3);
    pass_time();
    failed("shop", "no order 3", &APP);
    assert_int_equal(count("error=\"no order 3\""), 1);
    assert_int_equal(count("left_out=1"), 1);
}

static void refusals_are_alike_by_app_and_code(void **state) {
    (void)state;
    failed("shop", "is not allowed for you", &DENIED);
    failed("shop", "is not allowed for anybody", &DENIED);
    assert_int_equal(count("level=info"), 1);
    dirty_call_log_flush(&calls, false);
    assert_int_equal(count("more calls failed"), 0);
    dirty_call_log_flush(&calls, true);
    dirty_call_log_flush(&calls, true);
    assert_int_equal(count("msg=\"more calls failed\" app=\"shop\" code=DENIED calls=1"),
                     1);
}

static void ever_new_messages_are_limited_and_counted(void **state) {
    (void)state;
    enum { CALLS = 500 };
    char message[64];
    for (int i = 0; i < CALLS; i++) {
        snprintf(message, sizeof message, "%c%c%c", 'a' + i % 26, 'a' + i / 26 % 26,
                 'a' + i / 676);
        failed("shop", message, &APP);
    }
    int told = count("msg=\"call failed\"");
    assert_in_range(told, 20, 100); /* a burst, and what a slow machine refills */
    assert_int_equal(count("more calls failed"), 0);
    dirty_call_log_flush(&calls, true);
    char rest[64]; /* all but those of kinds that are still known */
    snprintf(rest, sizeof rest, "code=various calls=%d\n",
             CALLS - told - DIRTY_CALL_LOG_KINDS);
    assert_int_equal(count(rest), 1);
    assert_int_equal(count("code=APP calls=1\n"), DIRTY_CALL_LOG_KINDS);
}

static void tracebacks_and_levels_go_by_the_log_level(void **state) {
    (void)state;
    failed("shop", "first", &APP);
    assert_int_equal(count("here it was"), 0);
    dirty_log_set_level_name("debug");
    failed("shop", "second", &APP);
    assert_int_equal(count("traceback=\"here it was\""), 1);
    dirty_log_set_level_name("no level");
    failed("shop", "third", &APP);
    assert_int_equal(count("here it was"), 2);
    dirty_log_set_level_name("error");
    failed("shop", "fourth", &APP);
    assert_int_equal(count("fourth"), 0);
}

#define IN_LOG(test) cmocka_unit_test_setup_teardown(test, open_log, close_log)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_LOG(calls_that_differ_in_digits_are_alike),
        IN_LOG(refusals_are_alike_by_app_and_code),
        IN_LOG(ever_new_messages_are_limited_and_counted),
        IN_LOG(tracebacks_and_levels_go_by_the_log_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
