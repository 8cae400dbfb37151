/* Connecting: what stands in the way and how it is told; options and the default path. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/internal.h"
#include "client/socket_path.h"
#include "client_rig.h"

#define NOBODY 65534

static void serve_echo(fake *f, int fd, int number) {
    (void)number;
    while (fake_read_request(f, fd))
        fake_echo(f, fd);
}

/* A client for a path, whose call must fail so; the message has all `words`, NULL ends
 * them. Returns it until the next call. */
static const char *failure_at(const char *path, int code, const char *const *words) {
    static char message[1024];
    rig r = {0};
    dirty_options options;
    dirty_options_init(&options);
    options.socket = path;
    options.timeout_ms = 200;
    dirty_open(&r.client, &options);
    assert_int_equal(dirty_request_new(&r.request, "app", "action"), 0);
    for (; *words != NULL; words++)
        rig_expect_failure(&r, code, "no", *words);
    assert_non_null(strstr(dirty_err_details(r.client), "\"phase\":\"client\""));
    snprintf(message, sizeof message, "%s", dirty_errmsg(r.client));
    dirty_request_free(r.request);
    dirty_free(r.client);
    return message;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* -- Nobody there ------------------------------------------------------------------- */

static void test_no_such_socket(void **state) {
    (void)state;
    fake f;
    char path[128];
    fake_start(&f, 1, NULL, NULL);
    snprintf(path, sizeof path, "%s/other", f.dir);
    failure_at(path, DIRTY_ECONNECTION,
               WORDS("nothing listens", path, "no such socket", "dirty serve --socket"));
    snprintf(path, sizeof path, "%s/dir/other", f.dir);
    failure_at(path, DIRTY_ECONNECTION, WORDS("nothing listens", "no such directory"));
    fake_stop(&f);
}

static void test_a_socket_that_was_left_over(void **state) {
    (void)state;
    fake f;
    fake_start(&f, 1, NULL, NULL);
    shutdown(f.listener, SHUT_RDWR);
    close(f.listener);
    failure_at(f.path, DIRTY_ECONNECTION, WORDS("nothing listens", "has ended"));
    f.listener = -1;
    fake_stop(&f);
}

static void test_what_is_no_socket(void **state) {
    (void)state;
    fake f;
    char path[128];
    fake_start(&f, 1, NULL, NULL);
    snprintf(path, sizeof path, "%s/file", f.dir);
    close(open(path, O_CREAT | O_WRONLY, 0644));
    failure_at(path, DIRTY_ECONNECTION, WORDS("nothing listens", "not a socket"));
    unlink(path);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    failure_at(path, DIRTY_ECONNECTION, WORDS("another type"));
    close(fd);
    unlink(path);
    fake_stop(&f);
}

static void test_too_few_descriptors(void **state) {
    (void)state;
    rig r;
    struct rlimit before, none;
    rig_start(&r, serve_echo, NULL, 1000);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){3, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    int rc = rig_call(&r);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(rc, DIRTY_ECONNECTION);
    assert_non_null(strstr(dirty_errmsg(r.client), "descriptors"));
    assert_string_equal(dirty_err_started(r.client), "no");
    assert_int_equal(rig_call(&r), 0);
    rig_stop(&r);
}

/* -- A full backlog ----------------------------------------------------------------- */

/* Connections until the next would wait; how many. */
static int fill_backlog(const char *path, int fds[64]) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    for (int n = 0; n < 64; n++) {
        fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fds[n], (struct sockaddr *)&address, sizeof address) < 0) {
            assert_int_equal(errno, EAGAIN);
            close(fds[n]);
            return n;
        }
    }
    fail_msg("the backlog has no end");
    return 0;
}

static void test_a_backlog_that_stays_full(void **state) {
    (void)state;
    fake f;
    int fds[64];
    fake_start(&f, 1, NULL, NULL);
    int count = fill_backlog(f.path, fds);
    uint64_t start = dirty_now_ns();
    failure_at(f.path, DIRTY_EOVERLOADED, WORDS("listen queue"));
    assert_in_range((dirty_now_ns() - start) / DIRTY_NS_PER_MS, 195, 2000);
    while (count > 0)
        close(fds[--count]);
    fake_stop(&f);
}

static void *accept_late(void *arg) {
    fake *f = arg;
    usleep(100000);
    for (int n = 0; n < 64; n++) {
        int fd = accept(f->listener, NULL, NULL);
        if (fd < 0)
            break;
        f->arg = arg;
        if (fake_read_request(f, fd)) {
            fake_echo(f, fd);
            close(fd);
            break;
        }
        close(fd);
    }
    return NULL;
}

static void test_a_backlog_that_empties_in_time(void **state) {
    (void)state;
    rig r = {0};
    int fds[64];
    pthread_t thread;
    fake_start(&r.server, 1, NULL, NULL);
    int count = fill_backlog(r.server.path, fds);
    while (count > 0)
        close(fds[--count]); /* they stay in the queue until they are accepted */
    dirty_options options;
    dirty_options_init(&options);
    options.socket = r.server.path;
    options.timeout_ms = 5000;
    assert_int_equal(dirty_open(&r.client, &options), 0);
    assert_int_equal(dirty_request_new(&r.request, "app", "action"), 0);
    pthread_create(&thread, NULL, accept_late, &r.server);
    assert_int_equal(rig_call(&r), 0);
    /* The server is told what is left of the budget. */
    assert_in_range(r.server.route.budget_ms, 1000, 4920);
    pthread_join(thread, NULL);
    rig_stop(&r);
}

/* -- Not allowed -------------------------------------------------------------------- */

/* Run in a child as another user, who is told `words`. */
static void as_nobody(const char *path, const char *const *words) {
    int fds[2], status;
    char message[1024] = "";
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
            _exit(9);
        dirty_client *c;
        dirty_request *r;
        dirty_reply *reply;
        dirty_options options;
        dirty_options_init(&options);
        options.socket = path;
        if (dirty_open(&c, &options) < 0 || dirty_request_new(&r, "app", "action") < 0)
            _exit(8);
        int rc = dirty_call(c, r, &reply);
        if (write(fds[1], dirty_errmsg(c), dirty_errmsg_len(c)) < 0)
            _exit(7);
        _exit(rc == DIRTY_ECONNECTION ? 0 : 6);
    }
    close(fds[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    ssize_t n = read(fds[0], message, sizeof message - 1);
    close(fds[0]);
    assert_true(n > 0);
    assert_int_equal(status, 0);
    for (; *words != NULL; words++)
        if (strstr(message, *words) == NULL)
            fail_msg("\"%s\" is not in: %s", *words, message);
}

static void test_a_socket_that_is_not_for_the_caller(void **state) {
    (void)state;
    fake f;
    if (geteuid() != 0)
        skip();
    fake_start(&f, 8, NULL, NULL);
    chmod(f.path, 0600);
    as_nobody(f.path,
              WORDS(f.path, "mode 0600", "owner uid 0", "group gid 0",
                    "uid 65534 gid 65534", "socket_mode", "socket_user", "socket_group"));
    fake_stop(&f);
}

static void test_a_directory_on_the_way_that_is_closed(void **state) {
    (void)state;
    fake f;
    char deep[128], path[160];
    if (geteuid() != 0)
        skip();
    fake_start(&f, 8, NULL, NULL);
    snprintf(deep, sizeof deep, "%s/deep", f.dir);
    snprintf(path, sizeof path, "%s/s.sock", deep);
    mkdir(deep, 0755);
    rename(f.path, path);
    chmod(f.dir, 0700);
    as_nobody(path, WORDS(path, "the directory", f.dir, "mode 0700", "owner uid 0",
                          "uid 65534"));
    chmod(f.dir, 0755);
    chmod(deep, 0710);
    as_nobody(path, WORDS("the directory", deep, "mode 0710"));
    rename(path, f.path);
    rmdir(deep);
    fake_stop(&f);
}

/* -- Paths and options -------------------------------------------------------------- */

static void test_a_path_of_the_longest_length(void **state) {
    (void)state;
    char path[256];
    memset(path, 'x', sizeof path);
    memcpy(path, "/tmp/", 5);
    path[107] = '\0';
    failure_at(path, DIRTY_ECONNECTION, WORDS("nothing listens"));
    path[107] = 'x';
    path[108] = '\0';
    failure_at(path, DIRTY_ECONNECTION, WORDS("108 bytes", "107 at most", path));
    failure_at("", DIRTY_ECONNECTION, WORDS("empty"));
}

static void test_a_failed_open_can_be_read(void **state) {
    (void)state;
    dirty_client *c;
    dirty_options options;
    dirty_options_init(&options);
    assert_int_equal(options.timeout_ms, 30000);
    assert_int_equal(options.max_message, 64 << 20);
    options.timeout_ms = 0;
    assert_int_equal(dirty_open(&c, &options), DIRTY_EINVALID);
    assert_int_equal(dirty_err(c), DIRTY_EINVALID);
    assert_non_null(strstr(dirty_errmsg(c), "timeout_ms"));
    dirty_free(c);
    dirty_options_init(&options);
    options.max_message = 0;
    assert_int_equal(dirty_open(&c, &options), DIRTY_EINVALID);
    assert_non_null(strstr(dirty_errmsg(c), "max_message"));
    dirty_free(c);
}

static void expect_default(const char *expected) {
    char path[256];
    assert_int_equal(dirty_default_socket(path, sizeof path), 0);
    assert_string_equal(path, expected);
}

static void test_the_default_path(void **state) {
    (void)state;
    char own[64], small[8];
    snprintf(own, sizeof own, "/tmp/dirty-%lu/dirty.sock", (unsigned long)geteuid());
    unsetenv("DIRTY_SOCKET");
    unsetenv("XDG_RUNTIME_DIR");
    expect_default(geteuid() == 0 ? "/run/dirty/dirty.sock" : own);
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    expect_default(geteuid() == 0 ? "/run/dirty/dirty.sock" : own);
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    setenv("DIRTY_SOCKET", "", 1);
    expect_default("/run/user/7/dirty.sock");
    setenv("DIRTY_SOCKET", "./here", 1);
    expect_default("./here");
    assert_int_equal(dirty_default_socket(small, 7), 0);
    assert_int_equal(dirty_default_socket(small, 6), DIRTY_EINVALID);
    dirty_client *c;
    assert_int_equal(dirty_open(&c, NULL), 0);
    assert_string_equal(dirty_socket(c), "./here");
    dirty_free(c);
    unsetenv("DIRTY_SOCKET");
    unsetenv("XDG_RUNTIME_DIR");
}

static void test_a_private_directory_must_be_private(void **state) {
    (void)state;
    fake f;
    fake_start(&f, 8, NULL, NULL);
    chmod(f.dir, 0700);
    assert_true(dirty_socket_path_is_safe(f.path));
    chmod(f.dir, 0777);
    assert_false(dirty_socket_path_is_safe(f.path));
    chmod(f.dir, 0720);
    assert_false(dirty_socket_path_is_safe(f.path));
    if (geteuid() == 0) {
        chmod(f.dir, 0700);
        assert_int_equal(chown(f.dir, NOBODY, NOBODY), 0);
        assert_false(dirty_socket_path_is_safe(f.path));
        assert_int_equal(chown(f.dir, 0, 0), 0);
    }
    /* A client of the default path in /tmp holds to it. */
    chmod(f.dir, 0777);
    rig r = {0};
    dirty_options options;
    dirty_options_init(&options);
    options.socket = f.path;
    assert_int_equal(dirty_open(&r.client, &options), 0);
    r.client->private_dir = true;
    assert_int_equal(dirty_request_new(&r.request, "app", "action"), 0);
    rig_expect_failure(&r, DIRTY_ECONNECTION, "no", "must belong to the caller");
    dirty_request_free(r.request);
    dirty_free(r.client);
    assert_true(dirty_socket_path_is_safe("/tmp/dirty-test-none/s"));
    assert_false(dirty_socket_path_is_safe("/dev/null/s"));
    fake_stop(&f);
}

static void test_nothing_given(void **state) {
    (void)state;
    dirty_reply *reply;
    rig r;
    size_t len;
    const char *data;
    dirty_close(NULL);
    dirty_free(NULL);
    dirty_request_free(NULL);
    dirty_reply_free(NULL);
    assert_int_equal(dirty_err(NULL), DIRTY_EMEMORY);
    assert_string_equal(dirty_errmsg(NULL), "out of memory");
    assert_int_equal(dirty_errmsg_len(NULL), 13);
    assert_string_equal(dirty_err_details(NULL), "{}");
    assert_string_equal(dirty_err_started(NULL), "no");
    assert_string_equal(dirty_socket(NULL), "");
    assert_int_equal(dirty_reply_count(NULL), 0);
    assert_int_equal(dirty_reply_value(NULL, 0, &data, &len), 0);
    assert_int_equal(dirty_call(NULL, NULL, &reply), DIRTY_EMEMORY);
    rig_start(&r, serve_echo, NULL, 1000);
    assert_int_equal(dirty_call(r.client, NULL, &reply), DIRTY_EINVALID);
    rig_stop(&r);
}

/* -- Requests that can't be sent ---------------------------------------------------- */

/* A call by this format fails, and is told with these words. */
static void expect_refused(dirty_client *c, const char *words, const char *format, ...) {
    dirty_request *r;
    dirty_reply *reply;
    va_list list;
    assert_int_equal(dirty_request_new(&r, "app", "action"), 0);
    va_start(list, format);
    assert_int_equal(dirty_request_vaddf(r, format, list), DIRTY_EINVALID);
    va_end(list);
    assert_int_equal(dirty_call(c, r, &reply), DIRTY_EINVALID);
    if (strstr(dirty_errmsg(c), words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, dirty_errmsg(c));
    assert_non_null(strstr(dirty_errmsg(c), "app.action was not called"));
    dirty_request_free(r);
}

static void test_what_is_wrong_with_a_request(void **state) {
    (void)state;
    rig r = {0};
    dirty_reply *reply;
    assert_int_equal(dirty_open(&r.client, NULL), 0);
    expect_refused(r.client, "%q for argument 1", "%q", 1);
    expect_refused(r.client, "%5 for argument 2", "%d %5d", 1, 1);
    expect_refused(r.client, "%lu for argument 1, but there are only %b %s %j %d %ld",
                   "%lu", 1ul);
    expect_refused(r.client, "%llu for argument 1", "%llu", 1ull);
    expect_refused(r.client, "% for argument 1", "%");
    expect_refused(r.client, "%l for argument 1", "%l", 1l);
    expect_refused(r.client, "format \"%d x\" has 'x'", "%d x", 1);
    expect_refused(r.client, "argument 1 is nan", "%f", (double)NAN);
    expect_refused(r.client, "argument 2 is NULL, not a string", "%n %s", (char *)NULL);
    expect_refused(r.client, "argument 1 is NULL, not a JSON", "%j", (char *)NULL);
    expect_refused(r.client, "argument 1 is NULL, with", "%b", NULL, (size_t)7);
    expect_refused(r.client, "the format is NULL", NULL);
    assert_int_equal(dirty_callf(r.client, &reply, "app", "action", NULL),
                     DIRTY_EINVALID);
    assert_int_equal(dirty_callf(r.client, NULL, "app", "action", ""), DIRTY_EINVALID);
    assert_string_equal(dirty_errmsg(r.client), "there is no place for the reply");
    assert_int_equal(dirty_request_new(&r.request, "app", "action"), 0);
    assert_int_equal(dirty_call(r.client, r.request, NULL), DIRTY_EINVALID);
    assert_int_equal(dirty_stream_open(r.client, r.request, NULL), DIRTY_EINVALID);
    assert_int_equal(dirty_callf(NULL, NULL, "app", "action", ""), DIRTY_EINVALID);
    dirty_request_set_priority(r.request, 77);
    dirty_request_set_priority(r.request, -1); /* the first failure is the one told */
    rig_expect_failure(&r, DIRTY_EINVALID, "no", "priority is 77");
    dirty_request_reset(r.request, "app", "action");
    for (int i = 0; i <= UINT16_MAX; i++)
        dirty_request_add_nil(r.request);
    rig_expect_failure(&r, DIRTY_EINVALID, "no", "more than 65535 arguments");
    dirty_request_free(r.request);
    dirty_free(r.client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_such_socket),
        cmocka_unit_test(test_a_socket_that_was_left_over),
        cmocka_unit_test(test_what_is_no_socket),
        cmocka_unit_test(test_too_few_descriptors),
        cmocka_unit_test(test_a_backlog_that_stays_full),
        cmocka_unit_test(test_a_backlog_that_empties_in_time),
        cmocka_unit_test(test_a_socket_that_is_not_for_the_caller),
        cmocka_unit_test(test_a_directory_on_the_way_that_is_closed),
        cmocka_unit_test(test_a_path_of_the_longest_length),
        cmocka_unit_test(test_a_failed_open_can_be_read),
        cmocka_unit_test(test_the_default_path),
        cmocka_unit_test(test_a_private_directory_must_be_private),
        cmocka_unit_test(test_nothing_given),
        cmocka_unit_test(test_what_is_wrong_with_a_request),
    };
    return cmocka_run_group_tests_name("client connect", tests, NULL, NULL);
}
