#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/logfmt.h"

/* Each test has a directory of its own, removed at its end. */
typedef struct place {
    char dir[64], path[96], other[96];
} place;

static int make_place(void **state) {
    place *p = calloc(1, sizeof *p);
    const char *tmp = getenv("TMPDIR");
    snprintf(p->dir, sizeof p->dir, "%.40s/dirty-log-XXXXXX", tmp ? tmp : "/tmp");
    if (mkdtemp(p->dir) == NULL)
        return -1;
    snprintf(p->path, sizeof p->path, "%s/log", p->dir);
    snprintf(p->other, sizeof p->other, "%s/log.1", p->dir);
    *state = p;
    return 0;
}

static int remove_place(void **state) {
    place *p = *state;
    dirty_log_open(NULL, DIRTY_LOG_INFO);
    dirty_log_who("dirty");
    unlink(p->path);
    unlink(p->other);
    rmdir(p->dir);
    free(p);
    return 0;
}

static char *content_of(const char *path) {
    static char text[1 << 20];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    return text;
}

static size_t lines_of(const char *text) {
    size_t count = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++)
        count++;
    return count;
}

static void a_line_has_time_level_who_pid_and_fields(void **state) {
    place *p = *state;
    char tail[128];
    assert_int_equal(dirty_log_open(p->path, DIRTY_LOG_INFO), 0);
    dirty_log_who("worker:3");
    dirty_log(DIRTY_LOG_WARN, "app failed", "app=%s n=%d", "apps.echo", 7);
    const char *text = content_of(p->path);
    int y, mo, d, h, mi, s, ms, end = 0;
    sscanf(text, "ts=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &y, &mo, &d, &h, &mi, &s, &ms,
           &end);
    assert_int_equal(end, (int)strlen("ts=2026-11-23T06:17:30.123Z "));
    assert_true(y >= 2024 && mo >= 1 && mo <= 12 && d >= 1 && d <= 31);
    snprintf(tail, sizeof tail,
             "level=warn who=worker:3 pid=%d msg=\"app failed\" app=apps.echo n=7\n",
             (int)getpid());
    assert_string_equal(text + end, tail);
}

static void lines_below_the_level_are_left_out(void **state) {
    place *p = *state;
    for (int level = DIRTY_LOG_DEBUG; level <= DIRTY_LOG_ERROR; level++) {
        unlink(p->path);
        assert_int_equal(dirty_log_open(p->path, (dirty_log_level)level), 0);
        for (int of = DIRTY_LOG_DEBUG; of <= DIRTY_LOG_ERROR; of++)
            dirty_log((dirty_log_level)of, "x", "%s", "");
        assert_int_equal(lines_of(content_of(p->path)), DIRTY_LOG_ERROR - level + 1);
    }
}

static void levels_have_names(void **state) {
    (void)state;
    assert_int_equal(dirty_log_level_parse("debug"), DIRTY_LOG_DEBUG);
    assert_int_equal(dirty_log_level_parse("info"), DIRTY_LOG_INFO);
    assert_int_equal(dirty_log_level_parse("warn"), DIRTY_LOG_WARN);
    assert_int_equal(dirty_log_level_parse("error"), DIRTY_LOG_ERROR);
    assert_int_equal(dirty_log_level_parse("warning"), -1);
    assert_int_equal(dirty_log_level_parse(""), -1);
}

static void a_quoted_value_stays_on_its_line(void **state) {
    (void)state;
    assert_string_equal(DIRTY_LOG_QUOTE(""), "\"\"");
    assert_string_equal(DIRTY_LOG_QUOTE("a b"), "\"a b\"");
    assert_string_equal(DIRTY_LOG_QUOTE("a\"b\\c\nd\te\rf\x7f"),
                        "\"a\\\"b\\\\c\\nd\\te?f?\"");
    assert_string_equal(DIRTY_LOG_QUOTE("caf\xc3\xa9"), "\"caf\xc3\xa9\"");
}

static void a_line_is_one_line_whatever_its_fields_hold(void **state) {
    const place *p = *state;
    dirty_log_open(p->path, DIRTY_LOG_INFO);
    dirty_log(DIRTY_LOG_INFO, "a \x1b[2J message \xc2\x9b", "bare=%s name=%s",
              "x\nts=forged\x1b]0;title\a\x9b\xe2\x80\xae", "caf\xc3\xa9");
    const char *text = content_of(p->path);
    assert_non_null(strstr(
        text,
        "msg=\"a ?[2J message ?\" bare=x?ts=forged?]0;title??? name=caf\xc3\xa9\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void a_quoted_value_that_is_too_long_is_cut_and_still_quoted(void **state) {
    (void)state;
    static const char *const fillers[] = {"x", "\n", "\""};
    for (size_t f = 0; f < sizeof fillers / sizeof *fillers; f++)
        for (size_t len = 1000; len < 1100; len++) {
            char text[1200];
            memset(text, fillers[f][0], len);
            text[len] = '\0';
            dirty_log_quoted room;
            memset(&room, '#', sizeof room);
            dirty_log_quote(&room, text);
            size_t n = strnlen(room.text, sizeof room.text);
            assert_true(n < sizeof room.text);
            assert_int_equal(room.text[0], '"');
            assert_int_equal(room.text[n - 1], '"');
        }
}

static void a_line_that_is_too_long_is_cut_to_one_line(void **state) {
    place *p = *state;
    char field[8000];
    assert_int_equal(dirty_log_open(p->path, DIRTY_LOG_INFO), 0);
    for (size_t len = 3900; len < 4200; len += 7) {
        memset(field, 'f', len);
        field[len] = '\0';
        assert_int_equal(truncate(p->path, 0), 0);
        dirty_log(DIRTY_LOG_INFO, "long", "field=%s", field);
        const char *text = content_of(p->path);
        assert_true(strlen(text) <= 4096);
        assert_int_equal(lines_of(text), 1);
        assert_int_equal(text[strlen(text) - 1], '\n');
    }
    memset(field, 'm', sizeof field - 1);
    field[sizeof field - 1] = '\0';
    assert_int_equal(truncate(p->path, 0), 0);
    dirty_log(DIRTY_LOG_INFO, field, "rest=%d", 1);
    assert_int_equal(lines_of(content_of(p->path)), 1);
    assert_non_null(strstr(content_of(p->path), " rest=1\n"));
}

static void errno_survives_a_line(void **state) {
    place *p = *state;
    assert_int_equal(dirty_log_open(p->path, DIRTY_LOG_INFO), 0);
    errno = ENOTTY;
    dirty_log(DIRTY_LOG_INFO, "x", "%s", "");
    assert_int_equal(errno, ENOTTY);
}

static void the_file_is_private_appended_to_and_not_inherited(void **state) {
    place *p = *state;
    struct stat st;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dirty_log_open(p->path, DIRTY_LOG_INFO), 0);
        dirty_log(DIRTY_LOG_INFO, "x", "%s", "");
    }
    assert_int_equal(lines_of(content_of(p->path)), 2);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0137, 0);
    assert_true(fcntl(dirty_log_fd(), F_GETFD) & FD_CLOEXEC);
}

static void a_file_that_cannot_be_opened_leaves_the_log_as_it_was(void **state) {
    place *p = *state;
    char missing[128];
    snprintf(missing, sizeof missing, "%s/none/log", p->dir);
    assert_int_equal(dirty_log_open(p->path, DIRTY_LOG_INFO), 0);
    int fd = dirty_log_fd();
    assert_int_equal(dirty_log_open(missing, DIRTY_LOG_DEBUG), -ENOENT);
    assert_int_equal(dirty_log_fd(), fd);
    dirty_log(DIRTY_LOG_DEBUG, "hidden", "%s", "");
    dirty_log(DIRTY_LOG_INFO, "shown", "%s", "");
    assert_int_equal(lines_of(content_of(p->path)), 1);
}

static void reopen_follows_a_rotated_file(void **state) {
    place *p = *state;
    assert_int_equal(dirty_log_open(p->path, DIRTY_LOG_INFO), 0);
    int fd = dirty_log_fd();
    dirty_log(DIRTY_LOG_INFO, "old", "%s", "");
    assert_int_equal(rename(p->path, p->other), 0);
    dirty_log(DIRTY_LOG_INFO, "old", "%s", "");
    assert_int_equal(dirty_log_reopen(), 0);
    dirty_log(DIRTY_LOG_INFO, "new", "%s", "");
    assert_int_equal(lines_of(content_of(p->other)), 2);
    assert_int_equal(lines_of(content_of(p->path)), 1);
    assert_int_equal(dirty_log_fd(), fd);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void reopen_that_fails_keeps_the_old_file(void **state) {
    place *p = *state;
    char hidden[96];
    snprintf(hidden, sizeof hidden, "%s.off", p->dir);
    assert_int_equal(dirty_log_open(p->path, DIRTY_LOG_INFO), 0);
    assert_int_equal(rename(p->dir, hidden), 0);
    assert_int_equal(dirty_log_reopen(), -ENOENT);
    dirty_log(DIRTY_LOG_INFO, "kept", "%s", "");
    assert_int_equal(rename(hidden, p->dir), 0);
    assert_int_equal(lines_of(content_of(p->path)), 1);
}

static void stderr_is_never_reopened(void **state) {
    (void)state;
    assert_int_equal(dirty_log_open(NULL, DIRTY_LOG_INFO), 0);
    assert_int_equal(dirty_log_fd(), 2);
    assert_int_equal(dirty_log_reopen(), 0);
    assert_int_equal(dirty_log_fd(), 2);
}

/* -- Many writers
 * ------------------------------------------------------------------------ */

#define WRITERS 4
#define LINES 500

static void *write_lines(void *arg) {
    for (int i = 0; i < LINES; i++)
        dirty_log(DIRTY_LOG_INFO, "from a thread", "writer=%d line=%d", *(int *)arg, i);
    return NULL;
}

static void fork_writer(int number) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        write_lines(&number);
        _exit(0);
    }
}

static void lines_of_threads_and_processes_never_mix(void **state) {
    place *p = *state;
    pthread_t threads[WRITERS];
    int numbers[WRITERS];
    assert_int_equal(dirty_log_open(p->path, DIRTY_LOG_INFO), 0);
    for (int i = 0; i < WRITERS; i++)
        fork_writer(100 + i);
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < WRITERS; i++)
        assert_true(wait(NULL) > 0);
    char *text = content_of(p->path);
    assert_int_equal(lines_of(text), 2 * WRITERS * LINES);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        assert_memory_equal(line, "ts=", 3);
        assert_null(strstr(line + 3, "ts="));
        assert_non_null(strstr(line, " line="));
    }
}

static void expect_json(const char *line, const char *json) {
    char out[512];
    size_t len = dirty_logfmt_to_json(line, strlen(line), out, sizeof out - 1);
    out[len] = '\0';
    assert_string_equal(out, json);
}

static void logfmt_becomes_json(void **state) {
    (void)state;
    expect_json("", "{}");
    expect_json("a=1 b=-2.5 c=x d=true e=null",
                "{\"a\":1,\"b\":-2.5,\"c\":\"x\",\"d\":true,"
                "\"e\":null}");
    expect_json("msg=\"say \\\"hi\\\"\\n\\tx=1\" n=007 m=1. o=-",
                "{\"msg\":\"say \\\"hi\\\"\\n\\u0009x=1\",\"n\":\"007\",\"m\":\"1.\","
                "\"o\":\"-\"}");
    expect_json("v=1.2.3 empty= open=\"never", "{\"v\":\"1.2.3\",\"empty\":\"\","
                                               "\"open\":\"never\"}");
    expect_json("alone", "{\"alone\":\"\"}");
}

static void json_that_does_not_fit_loses_whole_fields(void **state) {
    (void)state;
    char out[16];
    const char *line = "a=1 long=0123456789 b=2";
    size_t len = dirty_logfmt_to_json(line, strlen(line), out, sizeof out);
    assert_int_equal(len, strlen("{\"a\":1,\"b\":2}"));
    assert_memory_equal(out, "{\"a\":1,\"b\":2}", len);
}

static void a_json_log_has_an_object_a_line(void **state) {
    place *p = *state;
    assert_int_equal(dirty_log_open(p->path, DIRTY_LOG_INFO), 0);
    dirty_log_as(DIRTY_LOG_JSON);
    dirty_log(DIRTY_LOG_INFO, "hello \"you\"", "count=%d who2=%s", 3, "x");
    dirty_log_as(DIRTY_LOG_LOGFMT);
    char *text = content_of(p->path);
    assert_memory_equal(text, "{\"ts\":\"", 7);
    assert_non_null(
        strstr(text, "\"msg\":\"hello \\\"you\\\"\",\"count\":3,\"who2\":\"x\"}\n"));
}

static void expect_text(const char *line, const char *want) {
    char out[400];
    size_t len = dirty_logfmt_to_text(line, strlen(line), out, sizeof out - 1);
    out[len] = '\0';
    assert_string_equal(out, want);
}

#define STAMP "ts=2026-01-02T12:30:05.123Z level=error who=worker:1 pid=7 "

static void logfmt_becomes_text(void **state) {
    (void)state;
    expect_text(STAMP "msg=\"call failed\" app=x error=\"a \\\"b\\\"\" empty=\"\"",
                "12:30:05.123 error worker:1: call failed app=x error=a \"b\"");
    expect_text(STAMP "msg=\"call failed\" traceback=\"one\\n\\ttwo\" code=APP",
                "12:30:05.123 error worker:1: call failed code=APP\n"
                "    one\n    \ttwo");
    expect_text(STAMP "msg=\"output\" worker=1 stream=stdout text=\"hello = you\"",
                "12:30:05.123 error worker:1 | hello = you");
    expect_text("ts=", "");
    expect_text("msg=\"never", ": never");
}

/* A pipe that nobody empties must not stop the process; what was lost is told. */
static void a_full_pipe_is_never_waited_for(void **state) {
    place *p = *state;
    (void)p;
    int pipe_fds[2], saved = dup(2);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(dirty_log_open(NULL, DIRTY_LOG_INFO), 0);
    assert_int_equal(dup2(pipe_fds[1], 2), 2);
    for (int i = 0; i < 5000; i++)
        dirty_log(DIRTY_LOG_INFO, "into the pipe", "line=%d", i);
    char bytes[4096], last[4097] = "";
    ssize_t n;
    assert_int_equal(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
    while ((n = read(pipe_fds[0], bytes, sizeof bytes)) > 0)
        continue;
    dirty_log(DIRTY_LOG_INFO, "through again", "line=%d", 5000);
    n = read(pipe_fds[0], last, sizeof last - 1);
    dup2(saved, 2);
    close(saved);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    assert_true(n > 0);
    assert_non_null(strstr(last, "through again"));
    assert_non_null(strstr(last, "log lines were lost"));
    assert_non_null(strstr(last, "lines="));
}

/* A disk without room must not end the process either; /dev/full is one. */
static void lines_for_a_full_disk_are_counted(void **state) {
    place *p = *state;
    assert_int_equal(symlink("/dev/full", p->path), 0);
    assert_int_equal(dirty_log_open(p->path, DIRTY_LOG_INFO), 0);
    for (int i = 0; i < 3; i++)
        dirty_log(DIRTY_LOG_INFO, "no room", "line=%d", i);
    assert_int_equal(unlink(p->path), 0);
    assert_int_equal(dirty_log_reopen(), 0);
    dirty_log(DIRTY_LOG_INFO, "room again", "line=%d", 3);
    char *text = content_of(p->path);
    assert_non_null(strstr(text, "room again"));
    assert_non_null(strstr(text, "log lines were lost"));
    assert_non_null(strstr(text, "lines=3"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_time_level_who_pid_and_fields),
        TEST(lines_below_the_level_are_left_out),
        TEST(levels_have_names),
        TEST(a_quoted_value_stays_on_its_line),
        TEST(a_line_is_one_line_whatever_its_fields_hold),
        TEST(a_quoted_value_that_is_too_long_is_cut_and_still_quoted),
        TEST(a_line_that_is_too_long_is_cut_to_one_line),
        TEST(errno_survives_a_line),
        TEST(the_file_is_private_appended_to_and_not_inherited),
        TEST(a_file_that_cannot_be_opened_leaves_the_log_as_it_was),
        TEST(reopen_follows_a_rotated_file),
        TEST(reopen_that_fails_keeps_the_old_file),
        TEST(stderr_is_never_reopened),
        TEST(lines_of_threads_and_processes_never_mix),
        TEST(a_full_pipe_is_never_waited_for),
        TEST(lines_for_a_full_disk_are_counted),
        TEST(logfmt_becomes_json),
        TEST(logfmt_becomes_text),
        TEST(json_that_does_not_fit_loses_whole_fields),
        TEST(a_json_log_has_an_object_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
