/* Lua that runs in a child: what it returns, and what is said where it does not. */
#include "harness.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/forked.h"

#define WAIT_MS 60000

/* What the parent and the child know of each other. */
typedef struct shared {
    atomic_int child;
    atomic_uint alarms; /* that the parent had */
} shared;

static shared *both;
static int fork_pipe[2]; /* whose end to write to the child's child holds */

static int note_child(lua_State *L) {
    (void)L;
    atomic_store(&both->child, getpid());
    return 0;
}

static int say_hello(lua_State *L) {
    (void)L;
    dirty_log_msg(DIRTY_LOG_INFO, "hello");
    return 0;
}

static int wait_alarms(lua_State *L) {
    uint64_t until_ns = dirty_now_ns() + WAIT_MS * DIRTY_NS_PER_MS;
    while (atomic_load(&both->alarms) < 3) {
        if (dirty_now_ns() > until_ns)
            return luaL_error(L, "no alarm came");
        usleep(1000);
    }
    return 0;
}

static int leave_a_child(lua_State *L) {
    (void)L;
    if (fork() == 0) {
        alarm(WAIT_MS / 1000);
        for (;;)
            pause();
    }
    return 0;
}

static lua_State *open_lua(void) {
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    luaL_openlibs(L);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    dirty_forked_register(L);
    lua_register(L, "note_child", note_child);
    lua_register(L, "say_hello", say_hello);
    lua_register(L, "wait_alarms", wait_alarms);
    lua_register(L, "leave_a_child", leave_a_child);
    return L;
}

/* Run the body of a function in a child, for at most `ms`: `what` is the line or, where
 * there is none, why. */
static void assert_aside(const char *body, unsigned ms, const char *line,
                         const char *why) {
    char text[512];
    lua_State *L = open_lua();
    snprintf(text, sizeof text, "return aside(function() %s end, %u)", body, ms);
    assert_int_equal(luaL_loadstring(L, text), 0);
    if (lua_pcall(L, 0, LUA_MULTRET, 0) != 0)
        fail_msg("%s", lua_tostring(L, -1));
    if (line != NULL) {
        assert_string_equal(lua_tostring(L, -1), line);
    } else {
        assert_true(lua_isnil(L, -2));
        assert_string_equal(lua_tostring(L, -1), why);
    }
    lua_close(L);
}

static void assert_line(const char *body, const char *line) {
    assert_aside(body, WAIT_MS, line, NULL);
}

static void assert_none(const char *body, unsigned ms, const char *why) {
    assert_aside(body, ms, NULL, why);
}

static void the_line_of_the_child_comes_back(void **state) {
    (void)state;
    assert_line("return 'one line\\n'", "one line\n");
    assert_line("return '\\n'", "\n");
}

static void a_child_without_a_line_is_told(void **state) {
    static const char ended[] = "the child that runs it ended too early";
    (void)state;
    assert_none("return 'no end'", WAIT_MS, ended);
    assert_none("return ''", WAIT_MS, ended);
    assert_none("return nil", WAIT_MS, ended);
    assert_none("error 'no line'", WAIT_MS, ended);
    assert_none("os.exit(0)", WAIT_MS, ended);
}

static void a_child_that_takes_too_long_is_gone(void **state) {
    (void)state;
    atomic_store(&both->child, 0);
    assert_none("note_child() while true do end", 500, "it took too long");
    pid_t child = atomic_load(&both->child);
    if (child != 0) /* else it was too late even for that */
        assert_int_equal(kill(child, 0), -1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* Each time a second more, if it were waited for longer than it takes. */
static void a_child_that_has_ended_is_not_waited_for(void **state) {
    (void)state;
    uint64_t began_ns = dirty_now_ns();
    for (int i = 0; i < 20; i++)
        assert_line("return '\\n'", "\n");
    assert_true(dirty_now_ns() - began_ns < 20000 * DIRTY_NS_PER_MS);
}

static void what_the_child_has_started_ends_with_it(void **state) {
    char byte;
    (void)state;
    assert_int_equal(pipe(fork_pipe), 0);
    assert_line("leave_a_child() return 'done\\n'", "done\n");
    close(fork_pipe[1]);
    struct pollfd end = {.fd = fork_pipe[0], .events = POLLIN};
    assert_int_equal(poll(&end, 1, WAIT_MS / 2), 1);
    assert_int_equal(read(fork_pipe[0], &byte, 1), 0); /* nobody holds it any more */
    close(fork_pipe[0]);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void a_line_of_more_than_16_mib_is_too_large(void **state) {
    (void)state;
    assert_none("return ('x'):rep(2^24 + 2^18) .. '\\n'", WAIT_MS, "it is too large");
    lua_State *L = open_lua();
    assert_int_equal(
        luaL_dostring(L, "local line = ('x'):rep(2^24 - 1) .. '\\n'\n"
                         "assert(aside(function() return line end, 60000) == line)"),
        0);
    lua_close(L);
}

static void on_alarm(int number) {
    (void)number;
    atomic_fetch_add(&both->alarms, 1);
}

static void a_signal_does_not_end_the_wait(void **state) {
    struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarm}, before;
    (void)state;
    atomic_store(&both->alarms, 0);
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    assert_line("wait_alarms() return 'waited\\n'", "waited\n");
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
}

static void what_the_child_logs_is_told_as_the_probes(void **state) {
    char path[] = "/tmp/dirty-aside-XXXXXX", text[1024];
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dirty_log_open(path, DIRTY_LOG_INFO);
    assert_line("say_hello() return 'said\\n'", "said\n");
    dirty_log_open(NULL, DIRTY_LOG_INFO);
    ssize_t len = read(fd, text, sizeof text - 1);
    assert_true(len > 0);
    text[len] = '\0';
    close(fd);
    unlink(path);
    assert_non_null(strstr(text, "hello"));
    assert_non_null(strstr(text, "who=probe "));
}

static int setup(void **state) {
    (void)state;
    both = mmap(NULL, sizeof *both, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);
    return both == MAP_FAILED;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_of_the_child_comes_back),
        cmocka_unit_test(a_child_without_a_line_is_told),
        cmocka_unit_test(a_child_that_takes_too_long_is_gone),
        cmocka_unit_test(a_child_that_has_ended_is_not_waited_for),
        cmocka_unit_test(what_the_child_has_started_ends_with_it),
        cmocka_unit_test(a_line_of_more_than_16_mib_is_too_large),
        cmocka_unit_test(a_signal_does_not_end_the_wait),
        cmocka_unit_test(what_the_child_logs_is_told_as_the_probes),
    };
    return cmocka_run_group_tests_name("aside", tests, setup, NULL);
}
