/* What is counted of requests, as Prometheus reads it. */
#include "harness.h"

#include "arbiter/meter.h"

static void count(meter *m, const char *action, dirty_code outcome, uint64_t queue_ns,
                  uint64_t run_ns) {
    meter_count(m, &(meter_sample){.action = action,
                                   .outcome = outcome,
                                   .resolved = strcmp(action, "made up") != 0,
                                   .queue_ns = queue_ns,
                                   .run_ns = run_ns});
}

static void assert_has(const dirty_buf *out, const char *what) {
    if (strstr((const char *)out->base, what) == NULL)
        fail_msg("not found: %s\nin: %s", what, (const char *)out->base);
}

/* Every line is NAME{app="a",action="…"…} NUMBER, and there are so many. */
static void assert_lines(dirty_buf *out, unsigned count) {
    unsigned lines = 0;
    dirty_buf_append(out, "", 1);
    assert_false(dirty_buf_failed(out));
    for (const char *at = (const char *)out->base; *at != '\0'; lines++) {
        char name[64], action[64];
        const char *end = strchr(at, '\n'), *brace = strchr(at, '}');
        assert_non_null(end);
        if (sscanf(at, "%63[a-z_]{app=\"a\",action=\"%63[^\"]\"", name, action) != 2 ||
            brace == NULL || brace > end || brace[1] != ' ')
            fail_msg("no labels: %.*s", (int)(end - at), at);
        at = end + 1;
    }
    assert_int_equal(lines, count);
}

static void every_line_has_the_labels_of_its_action(void **state) {
    (void)state;
    meter m = {0};
    dirty_buf out = {0};
    count(&m, "add", DIRTY_CODE_NONE, 1000000000, 2500000000);
    count(&m, "add", DIRTY_CODE_NONE, 0, 500000000);
    count(&m, "add", DIRTY_CODE_TIMEOUT, 0, 0); /* did not run */
    count(&m, "made up", DIRTY_CODE_ACTION_NOT_FOUND, 0, 0);

    meter_append_requests(&m, "a", &out);
    assert_lines(&out, 3);
    assert_has(&out, "dirty_requests_total{app=\"a\",action=\"add\",code=\"OK\"} 2\n");
    assert_has(&out,
               "dirty_requests_total{app=\"a\",action=\"add\",code=\"TIMEOUT\"} 1\n");
    assert_has(&out, "dirty_requests_total{app=\"a\",action=\"other\","
                     "code=\"ACTION_NOT_FOUND\"} 1\n");

    out.len = 0;
    meter_append_histograms(&m, "a", true, &out);
    assert_lines(&out, DIRTY_HISTOGRAM_BUCKETS + 3); /* and +Inf, the sum, the count */
    assert_has(&out, "dirty_request_run_seconds_bucket{app=\"a\",action=\"add\","
                     "le=\"+Inf\"} 2\n");
    assert_has(&out,
               "dirty_request_run_seconds_sum{app=\"a\",action=\"add\"} 3.000000000\n");
    assert_has(&out, "dirty_request_run_seconds_count{app=\"a\",action=\"add\"} 2\n");

    out.len = 0;
    meter_append_histograms(&m, "a", false, &out);
    assert_lines(&out, 2 * (DIRTY_HISTOGRAM_BUCKETS + 3));
    assert_has(&out, "dirty_request_queue_seconds_sum{app=\"a\",action=\"add\"} 1.0");
    assert_has(&out, "dirty_request_queue_seconds_count{app=\"a\",action=\"add\"} 3\n");
    assert_has(&out, "dirty_request_queue_seconds_count{app=\"a\",action=\"other\"} 1\n");
    dirty_buf_deinit(&out);
    meter_deinit(&m);
}

static void quotes_and_backslashes_of_labels_are_escaped(void **state) {
    (void)state;
    dirty_buf out = {0};
    meter_append_label(&out, "a\"b\\c");
    dirty_buf_append(&out, "", 1);
    assert_string_equal((const char *)out.base, "\"a\\\"b\\\\c\"");
    dirty_buf_deinit(&out);
}

/* The bounds that are counted by are those that Prometheus is told. */
static void a_time_is_in_its_bucket(void **state) {
    (void)state;
    for (int i = 0; i < DIRTY_HISTOGRAM_BUCKETS; i++) {
        dirty_histogram h = {0};
        uint64_t bound_ns = (uint64_t)(dirty_histogram_bounds_s[i] * 1e9 + 0.5);
        dirty_histogram_add(&h, bound_ns);
        assert_int_equal(h.buckets[i], 1);
        dirty_histogram_add(&h, bound_ns + 1);
        assert_int_equal(h.buckets[i], 1);
        assert_int_equal(h.buckets[i + 1], 1);
        assert_int_equal(h.count, 2);
        assert_int_equal(h.sum_ns, 2 * bound_ns + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_has_the_labels_of_its_action),
        cmocka_unit_test(quotes_and_backslashes_of_labels_are_escaped),
        cmocka_unit_test(a_time_is_in_its_bucket),
    };
    return cmocka_run_group_tests_name("meter", tests, NULL, NULL);
}
