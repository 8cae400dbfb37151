/* Interrupts: the test plays the arbiter, which asks by the lane's page and by signal. */
#include "lane_rig.h"

#include <math.h>
#include <sys/syscall.h>

static const dirty_app_spec storm_app = {
    .name = "storm", .module = "spec.apps.storm", .interruptible = true};

enum { RESEND_MS = 10, KINDS_MAX = 16 };
static const int sizes[] = {60, 600, 4000};
enum { SIZES = sizeof sizes / sizeof *sizes };

typedef struct storm {
    rig r;
    uint64_t seed;
    long serial;
    double expected[KINDS_MAX][SIZES];
    int kinds;
    long values, timeouts;
    double worst_ms;
} storm;

/* -- One call ------------------------------------------------------------------------ */

typedef struct answer {
    dirty_code code; /* NONE: values */
    char text[8192]; /* the first value, or the details */
} answer;

static void ask(rig *r, uint32_t lane, uint64_t seq, unsigned reason) {
    dirty_lane_page *page = r->pages[lane];
    atomic_store(&page->interrupt, seq << 8 | reason);
    syscall(SYS_tgkill, r->pid, (pid_t)atomic_load(&page->tid), DIRTY_INTERRUPT_SIGNAL);
}

static rig_caller begin(rig *r, uint32_t lane, const char *action, const char *json) {
    rig_caller c = rig_connect();
    dirty_buf frame = {0}, values = {0};
    if (json != NULL)
        rig_json(&values, json);
    rig_request(&frame, action, json != NULL, &values);
    rig_dispatch(r, lane, &c, &frame);
    dirty_buf_deinit(&frame);
    dirty_buf_deinit(&values);
    return c;
}

static void take(rig_caller *c, answer *a) {
    rig_frame f = rig_answer(c);
    dirty_value_reader values;
    dirty_value v = {0};
    assert_int_equal(f.head.id, RIG_ID);
    if (f.head.type == DIRTY_FRAME_ERROR) {
        dirty_error e;
        assert_int_equal(dirty_error_decode(f.payload, f.head.payload_len, &e), 0);
        a->code = (dirty_code)e.code;
        snprintf(a->text, sizeof a->text, "%.*s: %.*s", (int)e.message.len,
                 e.message.base, (int)e.details.len, e.details.base);
    } else {
        assert_int_equal(dirty_values_open(f.payload, f.head.payload_len, 255, &values),
                         0);
        assert_int_equal(dirty_value_next(&values, &v), 0);
        a->code = DIRTY_CODE_NONE;
        snprintf(a->text, sizeof a->text, "%.*s", (int)v.bytes.len, v.bytes.base);
    }
    free(f.payload);
}

static bool is_answered(rig_caller *c, int wait_us) {
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    struct timespec t = {0, wait_us * 1000L};
    return ppoll(&p, 1, &t, NULL) == 1;
}

/* Ask until there is an answer; milliseconds that took. */
static double ask_every(rig *r, uint32_t lane, rig_caller *c, unsigned reason,
                        int resend_ms) {
    uint64_t began = dirty_now_ns();
    do {
        if (dirty_now_ns() - began > RIG_WAIT_MS * DIRTY_NS_PER_MS)
            fail_msg("a call is not ended by %d ms of signals", RIG_WAIT_MS);
        if (dirty_baton_read(r->pages[lane], r->seq) == DIRTY_BATON_RUNNING)
            ask(r, lane, r->seq, reason);
    } while (!is_answered(c, resend_ms * 1000));
    return (double)(dirty_now_ns() - began) / DIRTY_NS_PER_MS;
}

static double interrupt_until_answered(rig *r, uint32_t lane, rig_caller *c,
                                       unsigned reason) {
    return ask_every(r, lane, c, reason, RESEND_MS);
}

static void finish(rig *r, uint32_t lane, rig_caller *c, answer *a) {
    take(c, a);
    dirty_msg_done done = rig_done(r, lane);
    assert_int_equal(done.dropped, 0);
    assert_int_equal(done.outcome, a->code);
    rig_disconnect(c);
}

static answer call(rig *r, const char *action, const char *json) {
    answer a;
    rig_caller c = begin(r, 0, action, json);
    finish(r, 0, &c, &a);
    return a;
}

/* -- The storm ----------------------------------------------------------------------- */

/* Three arguments: serial, kind, size. */
static rig_caller begin_work(storm *s, int kind, int size) {
    rig_caller c = rig_connect();
    dirty_buf frame = {0}, values = {0};
    char text[32];
    long arguments[] = {++s->serial, kind + 1, sizes[size]};
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "%ld", arguments[i]);
        rig_json(&values, text);
    }
    rig_request(&frame, "work", 3, &values);
    rig_dispatch(&s->r, 0, &c, &frame);
    dirty_buf_deinit(&frame);
    dirty_buf_deinit(&values);
    return c;
}

static void learn(storm *s) {
    answer a = call(&s->r, "kinds", NULL);
    s->kinds = atoi(a.text);
    assert_in_range(s->kinds, 1, KINDS_MAX);
    for (int kind = 0; kind < s->kinds; kind++) {
        for (int size = 0; size < SIZES; size++) {
            rig_caller c = begin_work(s, kind, size);
            finish(&s->r, 0, &c, &a);
            assert_int_equal(a.code, DIRTY_CODE_NONE);
            s->expected[kind][size] = atof(a.text);
            s->values++;
        }
    }
}

static void interrupt_one(storm *s) {
    int kind = (int)harness_random(&s->seed, (uint32_t)s->kinds);
    int size = (int)harness_random(&s->seed, SIZES);
    answer a;
    rig_caller c = begin_work(s, kind, size);
    if (!is_answered(&c, (int)harness_random(&s->seed, 1500))) {
        double ms = interrupt_until_answered(&s->r, 0, &c, DIRTY_CODE_TIMEOUT);
        s->worst_ms = fmax(s->worst_ms, ms);
    }
    finish(&s->r, 0, &c, &a);
    if (a.code == DIRTY_CODE_NONE) {
        s->values++;
        if (atof(a.text) != s->expected[kind][size])
            fail_msg("kind %d size %d: %s, not %.17g", kind + 1, sizes[size], a.text,
                     s->expected[kind][size]);
    } else {
        s->timeouts++;
        if (a.code != DIRTY_CODE_TIMEOUT)
            fail_msg("kind %d: %s", kind + 1, a.text);
    }
}

static void check_state(storm *s) {
    answer a = call(&s->r, "probe", NULL);
    assert_string_equal(a.text, "true");
}

/* DIRTY_STORM=n: so many interrupts. */
static void calls_interrupted_at_any_moment_leave_a_sound_state(void **state) {
    storm *s = calloc(1, sizeof *s);
    const char *wanted = getenv("DIRTY_STORM");
    long count = wanted ? atol(wanted) : 500;
    (void)state;
    s->seed = harness_seed();
    rig_init(&s->r, 1);
    rig_add_app(&s->r, &storm_app);
    rig_start(&s->r);
    rig_expect_ready(&s->r);
    learn(s);
    while (s->timeouts < count) {
        interrupt_one(s);
        if (s->serial % 100 == 0)
            check_state(s);
    }
    check_state(s);
    print_message("%ld calls: %ld values, %ld timeouts, longest end %.1f ms\n", s->serial,
                  s->values, s->timeouts, s->worst_ms);
    rig_stop(&s->r);
    free(s);
}

/* -- What an app sees, and what it keeps --------------------------------------------- */

#define LIMIT (24u << 20)

static const dirty_app_spec target_app = {.name = "target",
                                          .module = "spec.apps.interrupted",
                                          .options = "{}",
                                          .interruptible = true};

static void start_target(rig *r, uint32_t lanes, size_t max_memory) {
    rig_init(r, lanes);
    r->start.max_memory_bytes = max_memory;
    rig_add_app(r, &target_app);
    rig_start(r);
    rig_expect_ready(r);
}

static int start_rig(void **state) {
    rig *r = calloc(1, sizeof *r);
    start_target(r, 1, 0);
    *state = r;
    return 0;
}

static int start_limited(void **state) {
    rig *r = calloc(1, sizeof *r);
    start_target(r, 1, LIMIT);
    *state = r;
    return 0;
}

static int stop_rig(void **state) {
    rig *r = *state;
    rig_stop(r);
    free(r);
    return 0;
}

/* Wait until the call runs, and a little for the app to get going. */
static void let_run(rig *r, uint32_t lane) {
    uint64_t deadline = dirty_now_ns() + RIG_WAIT_MS * DIRTY_NS_PER_MS;
    while (dirty_baton_read(r->pages[lane], r->seq) != DIRTY_BATON_RUNNING) {
        if (dirty_now_ns() > deadline)
            fail_msg("the call does not run within %d ms", RIG_WAIT_MS);
        poll(NULL, 0, 1);
    }
    poll(NULL, 0, 5);
}

static answer interrupted(rig *r, const char *action, const char *json, unsigned reason) {
    answer a;
    rig_caller c = begin(r, 0, action, json);
    let_run(r, 0);
    interrupt_until_answered(r, 0, &c, reason);
    finish(r, 0, &c, &a);
    return a;
}

static void assert_error(answer a, dirty_code code, const char *text) {
    if (a.code != code || strstr(a.text, text) == NULL)
        fail_msg("expected %s with '%s', got %s %.2000s", dirty_code_name(code), text,
                 dirty_code_name(a.code), a.text);
}

static void assert_value(answer a, const char *text) {
    if (a.code != DIRTY_CODE_NONE || strcmp(a.text, text) != 0)
        fail_msg("expected %s, got %s %.2000s", text, dirty_code_name(a.code), a.text);
}

static void the_error_says_what_ran_and_where(void **state) {
    answer a = interrupted(*state, "loop", NULL, DIRTY_CODE_TIMEOUT);
    assert_error(a, DIRTY_CODE_TIMEOUT, "target.loop ran ");
    assert_error(a, DIRTY_CODE_TIMEOUT, "\"phase\":\"run\"");
    assert_error(a, DIRTY_CODE_TIMEOUT, "\"started\":\"yes\"");
    assert_error(a, DIRTY_CODE_TIMEOUT, "\"traceback\":\"stack traceback:\\n\\u0009");
    assert_error(a, DIRTY_CODE_TIMEOUT, "in function 'forever'");
}

static void a_cancelled_call_says_so(void **state) {
    assert_error(interrupted(*state, "loop", NULL, DIRTY_CODE_CANCELLED),
                 DIRTY_CODE_CANCELLED, "target.loop was cancelled after ");
}

static void a_call_that_catches_it_is_late_all_the_same(void **state) {
    assert_error(interrupted(*state, "swallow", NULL, DIRTY_CODE_TIMEOUT),
                 DIRTY_CODE_TIMEOUT, "target.swallow ran ");
    assert_error(interrupted(*state, "swallow_for_ever", NULL, DIRTY_CODE_TIMEOUT),
                 DIRTY_CODE_TIMEOUT, "target.swallow_for_ever ran ");
}

/* The next signal ends that too, so it comes late here. */
static void an_app_can_clean_up(void **state) {
    answer a;
    rig_caller c = begin(*state, 0, "tidy", NULL);
    let_run(*state, 0);
    ask_every(*state, 0, &c, DIRTY_CODE_TIMEOUT, 900);
    finish(*state, 0, &c, &a);
    assert_error(a, DIRTY_CODE_TIMEOUT, "target.tidy ran ");
    assert_value(call(*state, "what_was_caught", NULL),
                 "[\"TIMEOUT\",\"TIMEOUT: the deadline passed while the request ran\","
                 "\"failed: TIMEOUT: the deadline passed while the request ran\"]");
}

static void a_hook_of_the_app_ends_with_its_call(void **state) {
    assert_error(interrupted(*state, "set_hook", NULL, DIRTY_CODE_TIMEOUT),
                 DIRTY_CODE_TIMEOUT, "target.set_hook ran ");
    assert_value(call(*state, "has_hook", NULL), "false");
}

static void a_deep_stack_is_told_in_part(void **state) {
    answer a = interrupted(*state, "deep", "5000", DIRTY_CODE_TIMEOUT);
    assert_error(a, DIRTY_CODE_TIMEOUT, "\\n\\u0009...\\u0009(");
    assert_error(a, DIRTY_CODE_TIMEOUT, "in function 'down'");
}

static void a_stream_can_be_interrupted(void **state) {
    rig *r = *state;
    answer a;
    rig_caller c = begin(r, 0, "chunks", NULL);
    take(&c, &a);
    assert_value(a, "1");
    take(&c, &a);
    assert_value(a, "2");
    assert_int_equal(atomic_load(&r->pages[0]->streaming), r->seq);
    interrupt_until_answered(r, 0, &c, DIRTY_CODE_CANCELLED);
    finish(r, 0, &c, &a);
    assert_error(a, DIRTY_CODE_CANCELLED, "target.chunks was cancelled after ");
}

/* -- What must not interrupt --------------------------------------------------------- */

static void other_words_in_the_page_do_nothing(void **state) {
    rig *r = *state;
    answer a;
    uint64_t asked[] = {0, 1, UINT64_MAX >> 8, 1, 1};
    unsigned reasons[] = {0, 0, DIRTY_CODE_TIMEOUT, 77, DIRTY_CODE_APP};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        rig_caller c = begin(r, 0, "go_on", "0.05");
        let_run(r, 0);
        ask(r, 0, asked[i] == 1 ? r->seq : asked[i], reasons[i]);
        ask(r, 0, r->seq - 1, DIRTY_CODE_TIMEOUT);
        ask(r, 0, r->seq + 1, DIRTY_CODE_TIMEOUT);
        finish(r, 0, &c, &a);
        assert_value(a, "went on");
    }
}

static void a_signal_between_calls_does_nothing(void **state) {
    rig *r = *state;
    for (int i = 0; i < 50; i++) {
        ask(r, 0, r->seq, DIRTY_CODE_TIMEOUT);
        ask(r, 0, r->seq + 1, DIRTY_CODE_TIMEOUT);
        assert_int_equal(call(r, "count", NULL).code, DIRTY_CODE_NONE);
    }
}

static void a_signal_while_apps_boot_does_nothing(void **state) {
    static const dirty_app_spec slow_app = {.name = "target",
                                            .module = "spec.apps.interrupted",
                                            .options = "{\"spin\":0.1}",
                                            .interruptible = true};
    (void)state;
    rig r;
    rig_init(&r, 1);
    rig_add_app(&r, &slow_app);
    rig_start(&r);
    struct pollfd p = {.fd = r.channels[0], .events = POLLIN};
    while (poll(&p, 1, 1) == 0)
        if (atomic_load(&r.pages[0]->tid) != 0)
            ask(&r, 0, 1, DIRTY_CODE_TIMEOUT);
    rig_expect_ready(&r);
    atomic_store(&r.pages[0]->interrupt, 0);
    assert_value(call(&r, "count", NULL), "1");
    rig_stop(&r);
}

static void a_frame_is_written_to_its_end(void **state) {
    rig *r = *state;
    answer a;
    rig_caller c = begin(r, 0, "result", "8");
    uint64_t deadline = dirty_now_ns() + RIG_WAIT_MS * DIRTY_NS_PER_MS;
    while (dirty_baton_read(r->pages[0], r->seq) != DIRTY_BATON_WRITING)
        assert_true(dirty_now_ns() < deadline);
    for (int i = 0; i < 20; i++) {
        ask(r, 0, r->seq, DIRTY_CODE_TIMEOUT);
        poll(NULL, 0, 1);
    }
    rig_frame f = rig_answer(&c);
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    assert_int_equal(f.head.payload_len, 7 + (8u << 20));
    free(f.payload);
    assert_int_equal(rig_done(r, 0).outcome, 0);
    rig_disconnect(&c);
    a = call(r, "count", NULL);
    assert_int_equal(a.code, DIRTY_CODE_NONE);
}

/* -- Where it is --------------------------------------------------------------------- */

static void a_call_tells_where_it_is_and_goes_on(void **state) {
    rig *r = *state;
    answer a;
    dirty_lane_page *page = r->pages[0];
    rig_caller c = begin(r, 0, "go_on", "0.3");
    let_run(r, 0);
    uint64_t deadline = dirty_now_ns() + RIG_WAIT_MS * DIRTY_NS_PER_MS;
    while (atomic_load(&page->stack_seq) != r->seq) {
        assert_true(dirty_now_ns() < deadline);
        ask(r, 0, r->seq, DIRTY_INTERRUPT_STACK);
        poll(NULL, 0, RESEND_MS);
    }
    finish(r, 0, &c, &a);
    assert_value(a, "went on");
    assert_in_range(page->stack_len, 1, sizeof page->stack_text - 1);
    page->stack_text[page->stack_len] = '\0';
    assert_non_null(strstr(page->stack_text, "in function 'innermost'"));
    assert_non_null(strstr(page->stack_text, "main coroutine:"));
}

/* A stack of an earlier moment would be told as the present one. */
static void a_stack_that_nobody_asked_for_is_not_told(void **state) {
    rig *r = *state;
    for (int i = 0; i < 2; i++) { /* the first could leave something to the second */
        interrupted(r, "loop", NULL, DIRTY_CODE_TIMEOUT);
        assert_true(atomic_load(&r->pages[0]->stack_seq) != r->seq);
    }
}

/* -- Memory -------------------------------------------------------------------------- */

static void a_call_that_grows_is_ended_and_the_state_stays(void **state) {
    rig *r = *state;
    int count = atoi(call(r, "count", NULL).text);
    for (int i = 0; i < 3; i++) {
        answer a = call(r, "grow", NULL);
        assert_error(a, DIRTY_CODE_MEMORY,
                     "target.grow was stopped: the Lua heap of its ");
        assert_error(a, DIRTY_CODE_MEMORY, "max_memory (25165824 bytes)");
        assert_error(a, DIRTY_CODE_MEMORY, "in function");
        assert_error(call(r, "grow_and_swallow", NULL), DIRTY_CODE_MEMORY, "max_memory");
        assert_int_equal(atoi(call(r, "count", NULL).text), count + i + 1);
        assert_in_range(atomic_load(&r->pages[0]->lua_bytes), 1, LIMIT);
    }
}

static void garbage_does_not_count(void **state) {
    assert_value(call(*state, "litter", "300"), "true");
}

static void one_block_over_the_ceiling_is_refused(void **state) {
    assert_error(call(*state, "huge", "1000"), DIRTY_CODE_MEMORY, "not enough memory");
    assert_int_equal(call(*state, "count", NULL).code, DIRTY_CODE_NONE);
}

static void one_block_over_the_limit_ends_the_call(void **state) {
    assert_error(call(*state, "hold", "40"), DIRTY_CODE_MEMORY, "max_memory");
    assert_value(call(*state, "hold", "1"), "1048576");
}

/* The app and its state must stay whatever way the heap is used up. */
static void no_way_to_use_memory_harms_the_state(void **state) {
    static const dirty_app_spec greedy_app = {
        .name = "greedy", .module = "spec.apps.greedy", .interruptible = true};
    (void)state;
    rig r;
    rig_init(&r, 1);
    r.start.max_memory_bytes = LIMIT / 3; /* some ways take long to fill much */
    rig_add_app(&r, &greedy_app);
    rig_start(&r);
    rig_expect_ready(&r);
    int ways = atoi(call(&r, "ways", NULL).text);
    assert_in_range(ways, 1, 100);
    char text[16];
    for (int i = 0; i < 2 * ways; i++) {
        snprintf(text, sizeof text, "%d", i % ways + 1);
        answer a = call(&r, "eat", text);
        if (a.code != DIRTY_CODE_MEMORY)
            fail_msg("way %s: %s %s", text, dirty_code_name(a.code), a.text);
        snprintf(text, sizeof text, "%d", i + 1);
        assert_value(call(&r, "probe", NULL), text);
    }
    rig_stop(&r);
}

/* -- Several lanes ------------------------------------------------------------------- */

/* Compiled code of the first lane, interpreted code of all. */
static void lanes_are_interrupted_each_for_itself(void **state) {
    (void)state;
    rig r;
    answer a;
    start_target(&r, 2, 0);
    for (int i = 0; i < 20; i++) {
        rig_caller first = begin(&r, 0, "loop", NULL);
        let_run(&r, 0);
        uint64_t first_seq = r.seq;
        rig_caller second = begin(&r, 1, "interpreted", NULL);
        let_run(&r, 1);
        interrupt_until_answered(&r, 1, &second, DIRTY_CODE_TIMEOUT);
        finish(&r, 1, &second, &a);
        assert_error(a, DIRTY_CODE_TIMEOUT, "target.interpreted ran ");
        assert_false(is_answered(&first, 1000));
        r.seq = first_seq;
        interrupt_until_answered(&r, 0, &first, DIRTY_CODE_TIMEOUT);
        finish(&r, 0, &first, &a);
        assert_error(a, DIRTY_CODE_TIMEOUT, "target.loop ran ");
        r.seq++;
    }
    assert_value(call(&r, "count", NULL), "1");
    rig_stop(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_error_says_what_ran_and_where),
        cmocka_unit_test(a_cancelled_call_says_so),
        cmocka_unit_test(a_call_that_catches_it_is_late_all_the_same),
        cmocka_unit_test(an_app_can_clean_up),
        cmocka_unit_test(a_hook_of_the_app_ends_with_its_call),
        cmocka_unit_test(a_deep_stack_is_told_in_part),
        cmocka_unit_test(a_stream_can_be_interrupted),
        cmocka_unit_test(other_words_in_the_page_do_nothing),
        cmocka_unit_test(a_signal_between_calls_does_nothing),
        cmocka_unit_test(a_frame_is_written_to_its_end),
        cmocka_unit_test(a_call_tells_where_it_is_and_goes_on),
        cmocka_unit_test(a_stack_that_nobody_asked_for_is_not_told),
    };
    const struct CMUnitTest limited[] = {
        cmocka_unit_test(a_call_that_grows_is_ended_and_the_state_stays),
        cmocka_unit_test(garbage_does_not_count),
        cmocka_unit_test(one_block_over_the_ceiling_is_refused),
        cmocka_unit_test(one_block_over_the_limit_ends_the_call),
    };
    const struct CMUnitTest alone[] = {
        cmocka_unit_test(a_signal_while_apps_boot_does_nothing),
        cmocka_unit_test(lanes_are_interrupted_each_for_itself),
        cmocka_unit_test(calls_interrupted_at_any_moment_leave_a_sound_state),
    };
    const struct CMUnitTest greedy[] = {
        cmocka_unit_test(no_way_to_use_memory_harms_the_state),
    };
    int failed = cmocka_run_group_tests(greedy, NULL, NULL);
    failed += cmocka_run_group_tests(limited, start_limited, stop_rig);
#ifndef __SANITIZE_THREAD__ /* it keeps signals back until a system call is made */
    failed += cmocka_run_group_tests(tests, start_rig, stop_rig);
    failed += cmocka_run_group_tests(alone, NULL, NULL);
#else
    (void)tests, (void)alone, (void)start_rig;
#endif
    return failed;
}
