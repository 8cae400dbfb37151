/* Reload, scaling, recycling and the circuit, with scripted workers and configurations.
 */
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arbiter_rig.h"
#include "base/clock.h"
#include "wire/request.h"
#include "wire/value.h"
#include "wire/code.h"

static const rig_plan two = {.apps = {"t"}, .mark = "2", .workers = 2};

static void reload_replaces_every_worker(void **state) {
    rig *r = *state;
    r->o.workers = 2;
    rig_plans(r, &two, 1);
    rig_start(r);
    int fd = rig_connect(r);
    rig_expect_text(fd, 1, "t", "plan", "{}");
    kill(r->pid, SIGHUP);
    rig_wait_status(r, "\"result\":\"done\"");
    for (uint64_t id = 2; id < 40; id++) /* on a connection from before the reload */
        rig_expect_text(fd, id, "t", "plan", "2");
    rig_wait_status(r, "\"respawns\":0,");
    close(fd);
    rig_stop(r, 0);
}

/* Callers that never stop while reload follows reload: none sees an error. */
static void reload_fails_no_request(void **state) {
    rig *r = *state;
    r->o.workers = 2;
    rig_plans(r, &two, 1);
    rig_start(r);
    int fds[8];
    for (int i = 0; i < 8; i++)
        fds[i] = rig_connect(r);
    for (uint64_t round = 1; round <= 400; round++) {
        for (int i = 0; i < 8; i++)
            rig_call(fds[i], round, "t", "value");
        if (round % 20 == 0)
            kill(r->pid, SIGHUP);
        for (int i = 0; i < 8; i++)
            rig_expect_value(fds[i], round);
    }
    rig_wait_status(r, "\"result\":\"done\"");
    rig_wait_status(r, "\"errors\":{}");
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    rig_stop(r, 0);
}

static void expect_old_plan_goes_on(rig *r, const char *reason) {
    int fd = rig_connect(r);
    rig_expect_text(fd, 1, "t", "plan", "{}");
    kill(r->pid, SIGHUP);
    rig_wait_status(r, "\"result\":\"failed\"");
    rig_wait_status(r, reason);
    for (uint64_t id = 2; id < 20; id++)
        rig_expect_text(fd, id, "t", "plan", "{}");
    rig_wait_status(r, "\"reload_failures\":1,");
    close(fd);
}

static void new_code_that_fails_changes_nothing(void **state) {
    (void)state;
    static const char *const at[] = {"read", "probe", "boot"};
    static const char *const reasons[] = {"the file is broken", "syntax error near",
                                          "init went wrong"};
    for (int i = 0; i < 3; i++) {
        rig r;
        rig_plan bad = {.apps = {"t"}, .mark = "2", .workers = 2, .fails_at = at[i]};
        rig_init(&r);
        r.o.workers = 2;
        rig_plans(&r, &bad, 1);
        rig_start(&r);
        expect_old_plan_goes_on(&r, reasons[i]);
        rig_stop(&r, 0);
    }
}

static void apps_come_and_go(void **state) {
    rig *r = *state;
    static const rig_plan other = {.apps = {"u"}, .mark = "3", .workers = 1};
    rig_plans(r, &other, 1);
    rig_start(r);
    int busy = rig_connect(r), waits = rig_connect(r), fd = rig_connect(r);
    rig_call(busy, 1, "t", "hold-running");
    pid_t held = rig_wait_held(r);
    rig_call(waits, 2, "t", "value");
    rig_wait_status(r, "\"queue\":{\"length\":1,");
    kill(r->pid, SIGHUP);
    /* who waits for an app that is gone is told at once */
    free(rig_expect_error(waits, 2, DIRTY_CODE_APP_NOT_FOUND));
    rig_expect_text(fd, 3, "u", "plan", "3");
    rig_call(fd, 4, "t", "value");
    free(rig_expect_error(fd, 4, DIRTY_CODE_APP_NOT_FOUND));
    kill(held, SIGKILL);
    free(rig_expect_error(busy, 1, DIRTY_CODE_WORKER_LOST));
    rig_wait_status(r, "\"result\":\"done\"");
    close(busy);
    close(waits);
    close(fd);
    rig_stop(r, 0);
}

static void the_number_of_workers_changes(void **state) {
    rig *r = *state;
    static const rig_plan plans[] = {{.apps = {"t"}, .mark = "2", .workers = 4},
                                     {.apps = {"t"}, .mark = "3", .workers = 1}};
    r->o.workers = 2;
    rig_plans(r, plans, 2);
    rig_start(r);
    int fd = rig_connect(r);
    kill(r->pid, SIGHUP);
    rig_wait_status(r, "{\"number\":4,\"generation\"");
    rig_wait_status(r, "\"reloads\":1,");
    rig_expect_text(fd, 1, "t", "plan", "2");
    kill(r->pid, SIGHUP);
    rig_wait_status(r, "\"reloads\":2,");
    rig_expect_text(fd, 2, "t", "plan", "3");
    for (uint64_t until_ns = dirty_now_ns() + 10000 * DIRTY_NS_PER_MS;;) {
        char *text = rig_status(r);
        bool alone = strstr(text, "{\"number\":2,\"generation\"") == NULL;
        free(text);
        if (alone)
            break;
        assert_true(dirty_now_ns() < until_ns);
    }
    close(fd);
    rig_stop(r, 0);
}

static void a_second_hup_makes_one_more_roll(void **state) {
    rig *r = *state;
    r->o.workers = 2;
    rig_plans(r, &two, 1);
    rig_start(r);
    int fd = rig_connect(r);
    rig_expect_text(fd, 1, "t", "plan", "{}");
    rig_wait_status(r, "\"state\":\"serving\"");
    uint8_t *one;
    size_t len = rig_request(&one, 2, "@arbiter", "reload", 0, 0);
    uint8_t three[3 * 64];
    for (int i = 0; i < 3; i++)
        memcpy(three + (size_t)i * len, one, len);
    rig_send(fd, three, 3 * len); /* all read before the first roll can be done */
    for (int i = 0; i < 3; i++)
        rig_expect_value(fd, 2);
    free(one);
    rig_wait_status(r, "\"reload\":{\"number\":2,\"state\":\"idle\",\"result\":\"done\"");
    close(fd);
    rig_stop(r, 0);
}

/* The next roll must not begin before the last one's probe and pipe are gone. */
static void reload_after_reload_of_bad_code(void **state) {
    (void)state;
    static const char *const at[] = {"probe", "boot"};
    for (int i = 0; i < 2; i++) {
        rig r;
        rig_plan bad = {.apps = {"t"}, .mark = "2", .workers = 1, .fails_at = at[i]};
        rig_init(&r);
        rig_plans(&r, &bad, 1);
        rig_start(&r);
        rig_wait_status(&r, "\"state\":\"serving\"");
        int fd = rig_connect(&r);
        uint8_t *one;
        size_t len = rig_request(&one, 2, "@arbiter", "reload", 0, 0);
        for (int round = 0; round < 30; round++) {
            rig_send(fd, one, len);
            rig_send(fd, one, len);
            rig_expect_value(fd, 2);
            rig_expect_value(fd, 2);
        }
        free(one);
        rig_wait_status(&r, "\"state\":\"idle\",\"result\":\"failed\"");
        rig_expect_text(fd, 3, "t", "plan", "{}");
        close(fd);
        rig_stop(&r, 0);
    }
}

static void an_exclusive_app_stops_before_it_starts(void **state) {
    rig *r = *state;
    static const rig_plan alone = {
        .apps = {"t"}, .mark = "2", .workers = 1, .exclusive = true};
    r->apps[0].exclusive = true;
    rig_plans(r, &alone, 1);
    rig_start(r);
    int fd = rig_connect(r);
    rig_expect_text(fd, 1, "t", "plan", "{}");
    kill(r->pid, SIGHUP);
    rig_wait_status(r, "\"result\":\"done\"");
    rig_expect_text(fd, 2, "t", "plan", "2");
    close(fd);
    rig_stop(r, 0);
}

/* -- Boots that go wrong during a reload -----------------------------------------------
 */

/* A runtime, and the plan of its reloads, whose boots come to what the file says. */
typedef struct fated {
    rig r;
    char path[96], mark[128];
    rig_plan plan;
} fated;

static void fated_start(fated *f, uint32_t workers, bool apart) {
    rig_init(&f->r);
    snprintf(f->path, sizeof f->path, "%s/fates", f->r.dir);
    snprintf(f->mark, sizeof f->mark, "\"fates %s\"", f->path);
    f->plan = (rig_plan){.apps = {"t", apart ? "u" : NULL},
                         .mark = f->mark,
                         .workers = workers,
                         .apart = apart};
    f->r.o.workers = workers;
    rig_plans(&f->r, &f->plan, 1);
    rig_start(&f->r);
    rig_wait_status(&f->r, "\"state\":\"serving\"");
}

/* Reload, for the nth time, with the fates of the boots from the last letter on. */
static void fated_reload(fated *f, unsigned n, const char *fates, const char *result) {
    char end[120];
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    fputs(fates, file);
    assert_int_equal(fclose(file), 0);
    kill(f->r.pid, SIGHUP);
    snprintf(end, sizeof end,
             "\"reload\":{\"number\":%u,\"state\":\"idle\",\"result\":\"%s\"", n, result);
    rig_wait_status(&f->r, end);
}

static void a_worker_that_is_killed_as_it_boots_is_tried_three_times(void **state) {
    (void)state;
    fated f;
    fated_start(&f, 3, false);
    fated_reload(&f, 1, "kkk", "failed");
    fated_reload(&f, 2, "kk", "done");  /* the tries of the last one are forgotten */
    fated_reload(&f, 3, "f", "failed"); /* the fault of the new code, not tried again */
    fated_reload(&f, 4, "", "done");
    rig_stop(&f.r, 0);
}

static void each_place_has_tries_of_its_own(void **state) {
    (void)state;
    fated f;
    fated_start(&f, 3, false);
    fated_reload(&f, 1, "kk.kk.kk", "done"); /* two of each worker */
    fated_reload(&f, 2, "kkk.", "partial");
    rig_stop(&f.r, 0);
}

/* Kills from outside say nothing of the code: no circuit opens for them, and the worker
 * is back soon after the last. */
static void kills_while_workers_boot_open_no_circuit(void **state) {
    (void)state;
    fated f;
    fated_start(&f, 1, false);
    fated_reload(&f, 1, "", "done"); /* from here on workers ask for their fates */
    FILE *file = fopen(f.path, "w");
    assert_non_null(file);
    fputs("kkkkkkkkk", file);
    assert_int_equal(fclose(file), 0);
    int fd = rig_connect(&f.r);
    uint64_t before_ns = dirty_now_ns();
    rig_call(fd, 1, "t", "exit");
    free(rig_expect_error(fd, 1, DIRTY_CODE_WORKER_LOST));
    rig_call(fd, 2, "t", "value"); /* waits for the replacement */
    rig_expect_value(fd, 2);
    /* pauses that double from 100 ms would have taken 25 s */
    assert_true(dirty_now_ns() - before_ns < 10000 * DIRTY_NS_PER_MS);
    close(fd);
    rig_stop(&f.r, 0);
}

/* The first place can't be tried beside the one that serves: its tries begin when those
 * of the second are over. */
static void tries_before_the_new_plan_do_not_count_after_it(void **state) {
    (void)state;
    fated f;
    fated_start(&f, 2, true);
    fated_reload(&f, 1, "k.kk", "done");
    rig_stop(&f.r, 0);
}

/* -- Workers that do not end --------------------------------------------------------- */

static void assert_logged(const rig *r, const char *what) {
    char path[96], line[2048];
    snprintf(path, sizeof path, "%s/log", r->dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    bool found = false;
    while (!found && fgets(line, sizeof line, f) != NULL)
        found = strstr(line, what) != NULL;
    fclose(f);
    if (!found)
        fail_msg("not logged: %s", what);
}

static void every_call_of_a_worker_that_is_overdue_is_answered(void **state) {
    rig *r = *state;
    r->o.threads = 2;
    r->o.graceful_timeout_ms = 200;
    rig_plans(r, &two, 1);
    rig_start(r);
    int fds[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = rig_connect(r);
        rig_call(fds[i], 1, "t", "hold-running");
        rig_wait_held(r);
    }
    kill(r->pid, SIGHUP);
    for (int i = 0; i < 2; i++) {
        char *details = rig_expect_error(fds[i], 1, DIRTY_CODE_SHUTDOWN);
        assert_non_null(strstr(details, "graceful_timeout (0.2 s) has passed"));
        free(details);
        close(fds[i]);
    }
    rig_wait_status(r, "\"result\":\"done\"");
    assert_logged(r, "reason=\"graceful_timeout\"");
    rig_wait_status(r, "\"killed\":1,");
    rig_stop(r, 0);
}

static void an_idle_worker_that_does_not_end_is_killed(void **state) {
    dirty_frame f;
    uint8_t *payload;
    rig *r = *state;
    r->o.graceful_timeout_ms = 200;
    rig_plans(r, &two, 1);
    rig_start(r);
    int fd = rig_connect(r);
    rig_call(fd, 1, "t", "pid");
    assert_int_equal(rig_read(fd, &f, &payload), 1);
    payload[f.payload_len] = '\0';
    rig_wait_status(r, "\"lanes\":[{\"lane\":0,\"state\":\"idle\"");
    assert_int_equal(kill(atoi((char *)payload + 7), SIGSTOP), 0);
    free(payload);
    kill(r->pid, SIGHUP);
    rig_wait_status(r, "\"result\":\"done\"");
    assert_logged(r, "reason=\"no_exit\"");
    rig_wait_status(r, "\"killed\":1,");
    rig_expect_text(fd, 2, "t", "plan", "2");
    close(fd);
    rig_stop(r, 0);
}

/* -- Scaling
 * ------------------------------------------------------------------------------ */

static void call_with_text(int fd, uint64_t id, const char *action,
                           const char *argument) {
    dirty_buf b = {0};
    dirty_route route = {.argc = 1,
                         .app = dirty_slice_cstr("@arbiter"),
                         .action = dirty_slice_cstr(action)};
    assert_int_equal(dirty_request_encode_head(&b, id, &route,
                                               DIRTY_VALUE_HEAD_LEN + strlen(argument)),
                     0);
    dirty_value_append(&b, DIRTY_TAG_BYTES, argument, (uint32_t)strlen(argument));
    rig_send(fd, b.base, b.len);
    dirty_buf_deinit(&b);
}

static void scales_by_signal_and_by_action(void **state) {
    rig *r = *state;
    rig_start(r);
    int fd = rig_connect(r);
    rig_expect_text(fd, 1, "t", "plan", "{}");
    kill(r->pid, SIGTTIN);
    rig_wait_status(r, "\"number\":2,\"generation\":1");
    kill(r->pid, SIGTTOU);
    kill(r->pid, SIGTTOU); /* the last host stays */
    rig_wait_status(r, "\"t\":{\"workers\":1,");
    call_with_text(fd, 2, "scale", "+2");
    rig_expect_value(fd, 2);
    rig_wait_status(r, "\"t\":{\"workers\":3,");
    kill(r->pid, SIGTTOU); /* one at a time */
    rig_wait_status(r, "\"t\":{\"workers\":2,");
    kill(r->pid, SIGTTIN);
    rig_wait_status(r, "\"t\":{\"workers\":3,");
    call_with_text(fd, 3, "scale", "none");
    free(rig_expect_error(fd, 3, DIRTY_CODE_APP));
    call_with_text(fd, 4, "scale", "0");
    free(rig_expect_error(fd, 4, DIRTY_CODE_APP));
    rig_expect_text(fd, 5, "t", "plan", "{}");
    close(fd);
    rig_stop(r, 0);
}

static void scaling_down_keeps_limits(void **state) {
    rig *r = *state;
    r->o.workers = 2;
    r->o.app_count = 2;
    r->apps[1].workers = 2; /* "u" wants both */
    rig_start(r);
    int fd = rig_connect(r);
    rig_expect_text(fd, 1, "u", "plan", "{}");
    call_with_text(fd, 2, "scale", "1");
    char *details = rig_expect_error(fd, 2, DIRTY_CODE_APP);
    assert_non_null(strstr(details, "fewer than its limit"));
    free(details);
    close(fd);
    rig_stop(r, 0);
}

static void limits_spread_apps(void **state) {
    rig *r = *state;
    r->o.workers = 2;
    r->o.app_count = 3;
    r->apps[1].workers = 1;
    r->apps[2].workers = 1;
    rig_start(r);
    int fd = rig_connect(r);
    rig_expect_text(fd, 1, "u", "plan", "{}");
    rig_expect_text(fd, 2, "v", "plan", "{}");
    rig_wait_status(r, "\"apps\":[\"t\",\"u\"]");
    rig_wait_status(r, "\"apps\":[\"t\",\"v\"]");
    /* the replacement of a worker gets exactly its apps */
    rig_call(fd, 3, "u", "exit");
    free(rig_expect_error(fd, 3, DIRTY_CODE_WORKER_LOST));
    rig_wait_status(r, "\"generation\":2,");
    rig_expect_text(fd, 4, "u", "plan", "{}");
    rig_wait_status(r, "\"apps\":[\"t\",\"u\"]");
    close(fd);
    rig_stop(r, 0);
}

/* -- Recycling and the circuit
 * ---------------------------------------------------------------- */

static unsigned recycled(rig *r) {
    unsigned count = 0;
    char *text = rig_status(r);
    assert_non_null(strstr(text, "\"recycled\":"));
    sscanf(strstr(text, "\"recycled\":"), "\"recycled\":%u", &count);
    assert_non_null(strstr(text, "\"errors\":{}"));
    free(text);
    return count;
}

/* A replacement boots while its worker goes on to serve, so its calls are at least 50. */
static void recycles_after_max_requests(void **state) {
    rig *r = *state;
    r->o.max_requests = 50;
    rig_start(r);
    int fd = rig_connect(r);
    uint64_t id = 0, until_ns = dirty_now_ns() + 30000 * DIRTY_NS_PER_MS;
    while (recycled(r) < 3 && dirty_now_ns() < until_ns) {
        for (unsigned i = 0; i < 50; i++) {
            rig_call(fd, ++id, "t", "value");
            rig_expect_value(fd, id);
        }
    }
    assert_in_range(recycled(r), 3, id / 50);
    close(fd);
    rig_stop(r, 0);
}

static void cancel_ends_a_running_call(void **state) {
    rig *r = *state;
    rig_start(r);
    int busy = rig_connect(r), fd = rig_connect(r);
    rig_call(busy, 1, "t", "hold-running");
    rig_wait_held(r);
    call_with_text(fd, 2, "cancel", "1");
    rig_expect_value(fd, 2);
    free(rig_expect_error(busy, 1, DIRTY_CODE_CANCELLED));
    call_with_text(fd, 3, "cancel", "9");
    free(rig_expect_error(fd, 3, DIRTY_CODE_APP));
    rig_expect_text(fd, 4, "t", "plan", "{}");
    close(busy);
    close(fd);
    rig_stop(r, 0);
}

/* Once the files are broken, a worker that dies can't be replaced: the circuit opens. */
static void the_circuit_opens(void **state) {
    rig *r = *state;
    char broken[80];
    snprintf(broken, sizeof broken, "%s/broken", r->dir);
    r->apps[0].module = broken; /* the scripted worker does not boot while it exists */
    rig_start(r);
    int fd = rig_connect(r);
    rig_expect_text(fd, 1, "t", "plan", "{}");
    fclose(fopen(broken, "w"));
    rig_call(fd, 2, "t", "exit");
    free(rig_expect_error(fd, 2, DIRTY_CODE_WORKER_LOST));
    rig_call(fd, 3, "t", "value"); /* waits for the replacement, until there is no hope */
    char *details = rig_expect_error(fd, 3, DIRTY_CODE_NO_WORKERS);
    assert_non_null(strstr(details, "\"retry_after_ms\":"));
    free(details);
    rig_call(fd, 4, "t", "value");
    free(rig_expect_error(fd, 4, DIRTY_CODE_NO_WORKERS));
    rig_wait_status(r, "\"ready\":false");
    unlink(broken);
    rig_wait_status(r, "\"ready\":true");
    rig_expect_text(fd, 5, "t", "plan", "{}");
    close(fd);
    rig_stop(r, 0);
}

int main(int argc, char **argv) {
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        RIG_TEST(reload_replaces_every_worker),
        RIG_TEST(reload_fails_no_request),
        cmocka_unit_test(new_code_that_fails_changes_nothing),
        RIG_TEST(apps_come_and_go),
        RIG_TEST(the_number_of_workers_changes),
        RIG_TEST(a_second_hup_makes_one_more_roll),
        cmocka_unit_test(reload_after_reload_of_bad_code),
        RIG_TEST(an_exclusive_app_stops_before_it_starts),
        cmocka_unit_test(a_worker_that_is_killed_as_it_boots_is_tried_three_times),
        cmocka_unit_test(each_place_has_tries_of_its_own),
        cmocka_unit_test(kills_while_workers_boot_open_no_circuit),
        cmocka_unit_test(tries_before_the_new_plan_do_not_count_after_it),
        RIG_TEST(every_call_of_a_worker_that_is_overdue_is_answered),
        RIG_TEST(an_idle_worker_that_does_not_end_is_killed),
        RIG_TEST(scales_by_signal_and_by_action),
        RIG_TEST(scaling_down_keeps_limits),
        RIG_TEST(limits_spread_apps),
        RIG_TEST(recycles_after_max_requests),
        RIG_TEST(cancel_ends_a_running_call),
        RIG_TEST(the_circuit_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
