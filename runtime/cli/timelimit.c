#include "cli/timelimit.h"

#include <lauxlib.h>
#include <luajit.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/capture.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/children.h"
#include "supervisor/spawner.h"

/* Number of VM instructions between two looks at the clock. */
#define LOOK_EVERY 10000
/* Interval of the signals that interrupt system calls after the limit. */
#define AGAIN_US 50000
/* How many times the descendants of an ending process are killed. */
#define KILL_TURNS 20

/* Global, because a hook has no argument of its own, nor has a signal handler. */
static uint64_t until_ns;
static uint32_t allowed_ms;
static lua_State *volatile running; /* NULL: no call is running */
static void (*volatile kill_programs)(void);
static volatile sig_atomic_t exit_status;
static char last_words[1024];

static bool is_over(void) {
    return dirty_now_ns() >= until_ns;
}

static const char *push_message(lua_State *L) {
    return lua_pushfstring(
        L, "stopped: it ran for more than %d ms (uncompiled) while calls waited",
        (int)allowed_ms);
}

static void on_count(lua_State *L, lua_Debug *ar) {
    (void)ar;
    if (!is_over())
        return;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_error(L, "%s", push_message(L));
}

/* SIGALRM handler. It interrupts the current system call. A call that waits for a child
 * also needs the child to be killed. */
static void on_signal(int number) {
    (void)number;
    if (running == NULL || !is_over())
        return;
    lua_sethook(running, on_count, LUA_MASKCOUNT, 1); /* safe in a signal handler */
    kill_programs();
}

static void set_timer(uint32_t ms, long again_us) {
    struct itimerval t = {
        .it_value = {.tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000},
        .it_interval = {.tv_usec = again_us}};
    setitimer(ITIMER_REAL, &t, NULL);
}

static void begin(lua_State *L, uint32_t ms) {
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_sethook(L, on_count, LUA_MASKCOUNT, LOOK_EVERY);
    until_ns = dirty_now_ns() + ms * DIRTY_NS_PER_MS;
    allowed_ms = ms;
    running = L;
    set_timer(ms, AGAIN_US);
}

/* End the limit. True: the time was over. */
static bool finish(lua_State *L) {
    bool late = is_over();
    running = NULL;
    set_timer(0, 0);
    lua_sethook(L, NULL, 0, 0);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
    if (late)
        kill_programs();
    return late;
}

/* As dirty_timelimit_cpcall; `kill` kills the programs that it waits for. */
static int run(lua_State *L, lua_CFunction function, void *arg, uint32_t ms,
               void (*kill)(void)) {
    struct sigaction ours = {.sa_handler = on_signal}, former; /* no SA_RESTART */
    sigemptyset(&ours.sa_mask);
    sigaction(SIGALRM, &ours, &former);
    kill_programs = kill;
    dirty_capture_begin();
    begin(L, ms);
    int rc = lua_cpcall(L, function, arg);
    /* Flush what it wrote, or processes forked later would write it again. */
    fflush(NULL);
    bool late = finish(L);
    sigaction(SIGALRM, &former, NULL);
    dirty_capture_end();
    if (rc != 0 || !late)
        return rc;
    push_message(L);
    return DIRTY_TIMELIMIT_LATE;
}

int dirty_timelimit_cpcall(lua_State *L, lua_CFunction function, void *arg, uint32_t ms) {
    dirty_started_note();
    return run(L, function, arg, ms, dirty_started_kill);
}

/* Twice: what our own finalizers release becomes garbage only after them. */
static int collect(lua_State *L) {
    lua_gc(L, LUA_GCCOLLECT, 0);
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

void dirty_timelimit_collect(lua_State *L, uint32_t ms, bool former) {
    int top = lua_gettop(L);
    if (run(L, collect, NULL, ms,
            former ? dirty_started_kill_former : dirty_started_kill) != 0)
        dirty_log(DIRTY_LOG_ERROR, "can't free the objects of a configuration",
                  "reason=%s", DIRTY_LOG_QUOTE(lua_tostring(L, -1)));
    lua_settop(L, top);
}

/* Kill all descendants. Grandchildren become our children when their parent is gone. */
static void kill_descendants(void) {
    const struct timespec pause = {.tv_nsec = 2000000};
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int i = 0; i < KILL_TURNS; i++) {
        dirty_started_kill();
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
        nanosleep(&pause, NULL);
    }
}

static void on_start_late(int number) {
    (void)number;
    kill_descendants();
    dirty_spawner_pass_on(last_words);
    ssize_t n = write(STDERR_FILENO, last_words, strlen(last_words));
    (void)n; /* there is nobody to report an error to */
    dirty_spawner_end((int)exit_status);
    _exit((int)exit_status);
}

void dirty_timelimit_end(uint32_t ms, int status, const char *text) {
    struct sigaction action = {.sa_handler = on_start_late};
    snprintf(last_words, sizeof last_words, "%s", text);
    exit_status = status;
    dirty_started_note();
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    set_timer(ms, AGAIN_US);
}

void dirty_timelimit_lift(void) {
    set_timer(0, 0);
    signal(SIGALRM, SIG_DFL);
}

static void on_exit_late(int number) {
    (void)number;
    dirty_spawner_end((int)exit_status);
    _exit((int)exit_status);
}

void dirty_timelimit_exit(int status, uint32_t ms) {
    struct sigaction action = {.sa_handler = on_exit_late};
    sigset_t own;
    exit_status = status;
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&own);
    sigaddset(&own, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &own, NULL);
    set_timer(ms, AGAIN_US);
}
