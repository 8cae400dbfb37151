#include "cli/bounded.h"

#include <lauxlib.h>
#include <luajit.h>
#include <signal.h>
#include <sys/time.h>

#include "base/clock.h"

/* How many instructions pass between two looks at the clock. */
#define LOOK_EVERY 10000
/* How often system calls are ended, once the time is over. */
#define AGAIN_US 50000

/* A hook has no argument of its own. */
static uint64_t until_ns;
static uint32_t allowed_ms;

static void on_signal(int number) {
    (void)number; /* the system call that it came in has ended: no more is wanted */
}

static void on_count(lua_State *L, lua_Debug *ar) {
    (void)ar;
    if (dirty_now_ns() < until_ns)
        return;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_error(L, "ended: it ran for more than %d ms, and calls wait for it",
               (int)allowed_ms);
}

static void set_timer(uint32_t ms, long again_us) {
    struct itimerval t = {
        .it_value = {.tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000},
        .it_interval = {.tv_usec = again_us}};
    setitimer(ITIMER_REAL, &t, NULL);
}

int dirty_bounded_cpcall(lua_State *L, lua_CFunction function, void *arg, uint32_t ms) {
    struct sigaction ours = {.sa_handler = on_signal}, former; /* no SA_RESTART */
    sigemptyset(&ours.sa_mask);
    sigaction(SIGALRM, &ours, &former);
    until_ns = dirty_now_ns() + ms * DIRTY_NS_PER_MS;
    allowed_ms = ms;
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_sethook(L, on_count, LUA_MASKCOUNT, LOOK_EVERY);
    set_timer(ms, AGAIN_US);
    int rc = lua_cpcall(L, function, arg);
    set_timer(0, 0);
    lua_sethook(L, NULL, 0, 0);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
    sigaction(SIGALRM, &former, NULL);
    return rc;
}
