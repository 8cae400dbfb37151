#include "cli/config_source.h"

#include <errno.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/slice.h"
#include "base/write_all.h"
#include "cli/timelimit.h"
#include "cli/options.h"
#include "cli/fdstash.h"
#include "cli/try_apps.h"
#include "worker/pin.h"

/* `ctx` of the functions below. The collector owns it; the references are in the
 * registry. */
typedef struct source {
    lua_State *L;
    int functions; /* reference to the table with read and the other functions */
    pid_t owner;   /* process id of the arbiter */
} source;

/* Options returned by finish. The arbiter owns them until it releases them. */
typedef struct made {
    dirty_arbiter_options options; /* first: the arbiter has a pointer to it */
    int held;                      /* reference that keeps what the options point to */
} made;

/* Parameters and result of one call into Lua. */
typedef struct step {
    source *from;
    bool same; /* for read */
    bool done; /* for settle */
    dirty_slice report;
    made *out;
    fdstash report_to; /* kept out of reach of the file, and of what the apps start */
    char *why;
    size_t why_size;
    int rc;
} step;

static void tell(const step *s, const char *text) {
    snprintf(s->why, s->why_size, "%s", text != NULL ? text : "(no reason)");
}

/* Run `function` protected; the message of an error becomes the reason. Returns 0 or
 * -1. */
static int run(lua_CFunction function, step *s, uint32_t limit_ms) {
    lua_State *L = s->from->L;
    int top = lua_gettop(L);
    s->rc = -1;
    if (limit_ms > 0)
        lua_gc(L, LUA_GCRESTART, 0);
    int rc = limit_ms > 0 ? dirty_timelimit_cpcall(L, function, s, limit_ms)
                          : lua_cpcall(L, function, s);
    lua_gc(L, LUA_GCSTOP, 0); /* finalizers may take any time */
    /* A late return is a success: its Lua code went on after a system call was
     * interrupted. */
    if (rc != 0 && rc != DIRTY_TIMELIMIT_LATE) {
        tell(s, lua_tostring(L, -1));
        s->rc = -1;
    }
    lua_settop(L, top);
    dirty_pin_thread();
    fflush(stdout); /* flush its output, or a later fork would copy the buffer */
    return s->rc;
}

/* Call functions[name] with the `args` values on top of the stack. [-args, +2] */
static void call(lua_State *L, const step *s, const char *name, int args) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->from->functions);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_insert(L, -1 - args);
    lua_call(L, args, 2);
}

/* -- probe --------------------------------------------------------------------------- */

static int report(step *s, const void *bytes, size_t len) {
    int fd = fdstash_take(&s->report_to);
    if (fd < 0)
        return fd;
    int rc = dirty_write_all(fd, bytes, len);
    fdstash_put(&s->report_to, fd);
    return rc;
}

static int probe_protected(lua_State *L) {
    step *s = lua_touserdata(L, 1);
    dirty_arbiter_options options;
    size_t len;
    lua_pushboolean(L, s->same);
    call(L, s, "read", 1);
    const char *line = luaL_checklstring(L, -2, &len);
    s->rc = report(s, line, len);
    if (s->rc < 0 || !lua_istable(L, -1))
        return 0;
    dirty_cli_options_push(L, lua_gettop(L), &options);
    dirty_buf lines = {0};
    /* The arbiter's limit covers all apps. End earlier, so that it learns which app was
     * late. */
    options.boot_timeout_ms -= options.boot_timeout_ms / 10;
    s->rc = dirty_cli_try_apps(&options, false, &lines);
    if (s->rc == 0)
        s->rc = report(s, lines.base, lines.len);
    dirty_buf_deinit(&lines);
    return 0;
}

static int source_probe(void *ctx, bool same, int report_fd) {
    source *from = ctx;
    char why[256];
    step s = {.from = from, .same = same, .why = why, .why_size = sizeof why};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != from->owner)
        return 1;
    lua_gc(from->L, LUA_GCRESTART, 0);
    fdstash_put(&s.report_to, report_fd);
    return run(probe_protected, &s, 0) < 0 ? 1 : 0;
}

/* -- finish -------------------------------------------------------------------------- */

static int finish_protected(lua_State *L) {
    step *s = lua_touserdata(L, 1);
    lua_pushlstring(L, s->report.base, s->report.len);
    call(L, s, "finish", 1);
    if (!lua_istable(L, -2)) {
        tell(s, lua_tostring(L, -1));
        return 0;
    }
    snprintf(s->why, s->why_size, "%s", lua_isstring(L, -1) ? lua_tostring(L, -1) : "");
    lua_pop(L, 1);
    dirty_cli_options_push(L, lua_gettop(L), &s->out->options);
    s->out->held = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_gc(L, LUA_GCCOLLECT, 0);
    s->rc = 0;
    return 0;
}

static int begin_protected(lua_State *L) {
    step *s = lua_touserdata(L, 1);
    call(L, s, "begin", 0);
    s->rc = 0;
    return 0;
}

static int settle_protected(lua_State *L) {
    step *s = lua_touserdata(L, 1);
    lua_pushboolean(L, s->done);
    call(L, s, "settle", 1);
    s->rc = 0;
    return 0;
}

/* Run finish. Makes all of its changes or none. Returns 0 or -1. */
static int finish_whole(step *s) {
    if (run(begin_protected, s, 0) < 0)
        return -1;
    s->done = run(finish_protected, s, DIRTY_TIMELIMIT_MS) == 0;
    return run(settle_protected, s, 0) == 0 && s->done ? 0 : -1;
}

static int source_finish(void *ctx, const char *report, size_t len,
                         const dirty_arbiter_options **out, char *why, size_t why_size) {
    source *from = ctx;
    made *m = calloc(1, sizeof *m);
    step s = {.from = from,
              .report = {report, len},
              .out = m,
              .why = why,
              .why_size = why_size};
    if (m == NULL) {
        tell(&s, "out of memory");
        return -1;
    }
    int rc = finish_whole(&s);
    if (rc == 0) {
        *out = &m->options;
        return 0;
    }
    free(m);
    dirty_timelimit_collect(from->L, DIRTY_TIMELIMIT_MS, false);
    lua_gc(from->L, LUA_GCSTOP, 0);
    return rc;
}

static void source_release(void *ctx, const dirty_arbiter_options *options) {
    source *from = ctx;
    made *m = (made *)options;
    luaL_unref(from->L, LUA_REGISTRYINDEX, m->held);
    free(m);
    /* a reload is rare and must leave no garbage */
    dirty_timelimit_collect(from->L, DIRTY_TIMELIMIT_MS, true);
    lua_gc(from->L, LUA_GCSTOP, 0);
}

/* -- Life cycle ---------------------------------------------------------------------- */

static int free_source(lua_State *L) {
    const source *from = lua_touserdata(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, from->functions);
    return 0;
}

void dirty_config_source_push(lua_State *L, int index, dirty_config_source *out) {
    luaL_checktype(L, index, LUA_TTABLE);
    source *from = lua_newuserdata(L, sizeof *from);
    *from = (source){.L = L, .functions = LUA_NOREF, .owner = getpid()};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_source);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, index);
    from->functions = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_gc(L, LUA_GCCOLLECT, 0);
    lua_gc(L, LUA_GCSTOP, 0);
    *out = (dirty_config_source){.ctx = from,
                                 .probe = source_probe,
                                 .finish = source_finish,
                                 .release = source_release};
}
