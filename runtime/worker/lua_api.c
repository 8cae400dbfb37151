#include "worker/lua_api.h"

#include <limits.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/clock.h"
#include "base/loaded.h"
#include "base/log.h"
#include "worker/peer.h"
#include "worker/lua_json.h"

#define NS_PER_S 1e9

static dirty_lua_scope *scope_of(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Seconds until the deadline. The call must have one. */
static double seconds_left(const dirty_call *call) {
    uint64_t now = dirty_now_ns(), deadline = call->deadline_ns;
    return now < deadline ? (double)(deadline - now) / NS_PER_S
                          : -(double)(now - deadline) / NS_PER_S;
}

/* remaining() → seconds until the deadline, negative after it; nil without one */
static int api_remaining(lua_State *L) {
    const dirty_call *call = scope_of(L)->call;
    if (call == NULL || call->deadline_ns == 0)
        return 0;
    lua_pushnumber(L, seconds_left(call));
    return 1;
}

/* caller_is_gone() → whether the client has closed its connection */
static int api_caller_is_gone(lua_State *L) {
    const dirty_call *call = scope_of(L)->call;
    lua_pushboolean(L, call != NULL && dirty_peer_is_gone(call->fd));
    return 1;
}

/* cwd() → the working directory; nil if it has no path any more */
static int api_cwd(lua_State *L) {
    char path[PATH_MAX];
    lua_pushstring(L, getcwd(path, sizeof path));
    return 1;
}

/* loaded(path): the file is code that was loaded, or would have been if it existed */
static int api_loaded(lua_State *L) {
    dirty_loaded_tell(luaL_checkstring(L, 1));
    return 0;
}

/* booting(phase): publish the phase of the app that boots, for the arbiter */
static int api_booting(lua_State *L) {
    static const char *const phases[] = {"none", "load", "new", "init", NULL};
    const dirty_lua_scope *scope = scope_of(L);
    uint32_t phase = (uint32_t)luaL_checkoption(L, 1, NULL, phases);
    if (scope->page != NULL)
        atomic_store(&scope->page->booting, scope->booting << 8 | phase);
    return 0;
}

/* log(level, msg, fields): fields is logfmt text or "". An app that logs without end
 * loses lines, as one that prints does. */
static int api_log(lua_State *L) {
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    dirty_lua_scope *scope = scope_of(L);
    int level = luaL_checkoption(L, 1, NULL, levels);
    const char *msg = luaL_checkstring(L, 2), *fields = luaL_optstring(L, 3, "");
    const char *gap = *fields ? " " : "";
    if (!dirty_log_takes((dirty_log_level)level) ||
        !dirty_bucket_pass(&scope->log_bucket, DIRTY_APP_LINES_BURST,
                           DIRTY_APP_LINES_PER_S))
        return 0;
    if (scope->log_bucket.refused > 0)
        dirty_log(DIRTY_LOG_WARN, "log lines suppressed", "lines=%llu",
                  (unsigned long long)scope->log_bucket.refused);
    scope->log_bucket.refused = 0;
    if (scope->app == NULL)
        dirty_log((dirty_log_level)level, msg, "%s", fields);
    else
        dirty_log((dirty_log_level)level, msg, "app=%s%s%s", DIRTY_LOG_QUOTE(scope->app),
                  gap, fields);
    return 0;
}

/* The deadline on the clock of os.time(), in seconds with fractions. */
static double deadline_of(const dirty_call *call) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / NS_PER_S + seconds_left(call);
}

static int push_metadata(lua_State *L) {
    const dirty_lua_scope *scope = scope_of(L);
    if (scope->call->metadata.base == NULL)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, scope->metadata);
    return 1;
}

/* request(_, key) → that field of the request that runs; the __index of dirty.request */
static int api_request(lua_State *L) {
    static const char *const keys[] = {"id",       "app", "action", "metadata",
                                       "deadline", "pid", "uid",    NULL};
    const dirty_lua_scope *scope = scope_of(L);
    const dirty_call *call = scope->call;
    const char *name = lua_tostring(L, 2);
    int key = 0;
    while (keys[key] != NULL && (name == NULL || strcmp(keys[key], name) != 0))
        key++;
    if (keys[key] == NULL)
        return luaL_error(L,
                          "dirty.request has no field '%s': it has id, app, action, "
                          "metadata, deadline, pid, uid",
                          name ? name : "?");
    if (call == NULL)
        return 0;
    switch (key) {
    case 0: lua_pushnumber(L, (lua_Number)call->id); return 1;
    case 1: lua_pushstring(L, scope->app); return 1;
    case 2: lua_pushlstring(L, call->action.base, call->action.len); return 1;
    case 3: return push_metadata(L);
    case 4:
        if (call->deadline_ns == 0)
            return 0;
        lua_pushnumber(L, deadline_of(call));
        return 1;
    case 5: lua_pushinteger(L, call->peer_pid); return 1;
    default: lua_pushnumber(L, call->peer_uid); return 1;
    }
}

static void add(lua_State *L, dirty_lua_scope *scope, const char *name,
                lua_CFunction function) {
    lua_pushlightuserdata(L, scope);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

void dirty_lua_api_open(lua_State *L, dirty_lua_scope *scope) {
    lua_newtable(L);
    add(L, scope, "remaining", api_remaining);
    add(L, scope, "caller_is_gone", api_caller_is_gone);
    add(L, scope, "log", api_log);
    add(L, scope, "booting", api_booting);
    add(L, scope, "cwd", api_cwd);
    add(L, scope, "request", api_request);
    if (dirty_loaded_end() >= 0)
        add(L, scope, "loaded", api_loaded);
    lua_pushcfunction(L, dirty_lua_json_encoder);
    lua_setfield(L, -2, "json_encoder");
    lua_pushinteger(L, getpid());
    lua_setfield(L, -2, "pid");
    lua_pushinteger(L, (lua_Integer)scope->start->number);
    lua_setfield(L, -2, "worker");
    lua_pushinteger(L, (lua_Integer)scope->start->generation);
    lua_setfield(L, -2, "generation");
    lua_pushinteger(L, (lua_Integer)scope->start->limits.max_depth);
    lua_setfield(L, -2, "max_depth");
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "dirty.host");
    lua_pop(L, 2);
}
