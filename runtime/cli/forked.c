#include "cli/forked.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/buf.h"
#include "base/capture.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/title.h"
#include "base/trail.h"
#include "base/write_all.h"
#include "cli/timelimit.h"

/* Maximum size of the line: a configuration with its apps' options. */
#define LINE_MAX_BYTES (16u << 20)
/* How long a killed child may take to disappear. */
#define END_MS 1000

/* -- In the child ------------------------------------------------------------------ */

/* Run the function that is the first value of the stack. */
static _Noreturn void run_child(lua_State *L, int fd, pid_t parent) {
    size_t len = 0;
    setpgid(0, 0);
    dirty_proc_mark();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    dirty_title_set("dirty: probe");
    dirty_log_who("probe");
    lua_pushvalue(L, 1);
    const char *line = lua_pcall(L, 0, 1, 0) == 0 ? lua_tolstring(L, -1, &len) : NULL;
    fflush(stdout);
    _exit(line != NULL && dirty_write_all(fd, line, len) == 0 ? 0 : 1);
}

/* -- In the parent ----------------------------------------------------------------- */

/* Read until the line is complete. Don't wait for end of input, because processes that
 * the child has forked may hold the pipe. Returns NULL, or why there is no line. */
static const char *read_line(int fd, uint64_t until_ns, dirty_buf *line) {
    while (line->len == 0 || line->base[line->len - 1] != '\n') {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = poll(&p, 1, dirty_ms_until(until_ns, dirty_now_ns()));
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            return "it took too long";
        if (line->len > LINE_MAX_BYTES)
            return "it is too large";
        if (n < 0 || dirty_buf_reserve(line, 65536) < 0)
            return "out of memory";
        ssize_t got = read(fd, line->base + line->len, 65536);
        if (got > 0)
            line->len += (size_t)got;
        else if (got == 0 || errno != EINTR)
            return "the child that runs it ended too early";
    }
    return NULL;
}

/* Kill the child and wait for END_MS. A child that does not end, for instance because its
 * file system hangs, is left to the subreaper. */
static void end_child(pid_t pid) {
    uint64_t until_ns = dirty_now_ns() + END_MS * DIRTY_NS_PER_MS;
    setpgid(pid, pid); /* the child may not have done this yet */
    kill(-pid, SIGKILL);
    while (waitpid(pid, NULL, WNOHANG) == 0 && dirty_now_ns() < until_ns)
        poll(NULL, 0, 1);
}

static int push_failure(lua_State *L, const char *text) {
    lua_pushnil(L);
    lua_pushstring(L, text);
    return 2;
}

static int aside(lua_State *L) {
    int ends[2];
    luaL_checktype(L, 1, LUA_TFUNCTION);
    uint64_t until_ns =
        dirty_now_ns() + (uint64_t)luaL_checknumber(L, 2) * DIRTY_NS_PER_MS;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return push_failure(L, strerror(errno));
    fflush(NULL); /* flush, or the child would write our buffered output again */
    pid_t parent = getpid();
    dirty_capture_open();
    dirty_capture_begin();
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        run_child(L, ends[1], parent);
    }
    const char *why = pid < 0 ? strerror(errno) : NULL;
    dirty_capture_end();
    dirty_buf line = {0};
    close(ends[1]);
    if (pid > 0) {
        why = read_line(ends[0], until_ns, &line);
        end_child(pid);
    }
    close(ends[0]);
    if (why == NULL)
        lua_pushlstring(L, (const char *)line.base, line.len);
    dirty_buf_deinit(&line);
    return why == NULL ? 1 : push_failure(L, why);
}

/* -- In this process ----------------------------------------------------------------- */

static int call_kept(lua_State *L) {
    const int *function = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, *function);
    lua_call(L, 0, 0);
    return 0;
}

static int bounded(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    dirty_capture_open();
    int function = luaL_ref(L, LUA_REGISTRYINDEX);
    int rc = dirty_timelimit_cpcall(L, call_kept, &function, DIRTY_TIMELIMIT_MS);
    luaL_unref(L, LUA_REGISTRYINDEX, function);
    if (rc != 0) {
        const char *text = lua_tostring(L, -1);
        return push_failure(L, text != NULL ? text : "(no reason)");
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* -- Checks of a file before it is run at the start ---------------------------------- */

static int odd_file(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    dirty_trail t;
    if (stat(path, &st) < 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return 0;
    int rc = dirty_trail_follow(&t, path, geteuid());
    if (t.dir_fd >= 0)
        close(t.dir_fd);
    if ((rc == 0 && t.is_descriptor) ||
        (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
        return 0;
    lua_pushstring(L, S_ISFIFO(st.st_mode)   ? "FIFO"
                      : S_ISSOCK(st.st_mode) ? "socket"
                                             : "device");
    return 1;
}

static int end_after(lua_State *L) {
    if (lua_isnoneornil(L, 1))
        dirty_timelimit_lift();
    else
        dirty_timelimit_end((uint32_t)luaL_checknumber(L, 1),
                            (int)luaL_checkinteger(L, 2), luaL_checkstring(L, 3));
    return 0;
}

void dirty_forked_register(lua_State *L) {
    static const luaL_Reg functions[] = {{"aside", aside},
                                         {"bounded", bounded},
                                         {"odd_file", odd_file},
                                         {"end_after", end_after},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
