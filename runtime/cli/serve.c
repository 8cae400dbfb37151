#include "cli/serve.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "arbiter/arbiter.h"
#include "base/buf.h"
#include "base/capture.h"
#include "base/loaded.h"
#include "base/log.h"
#include "base/safe_file.h"
#include "cli/timelimit.h"
#include "cli/config_source.h"
#include "cli/options.h"
#include "cli/try_apps.h"

static int push_error(lua_State *L, int rc) {
    lua_pushnil(L);
    lua_pushstring(L, strerror(-rc));
    lua_pushinteger(L, -rc);
    return 3;
}

static int serve(lua_State *L) {
    dirty_arbiter_options options;
    lua_settop(L, 1);
    dirty_cli_options_push(L, 1, &options);
    lua_getfield(L, 1, "source");
    if (lua_istable(L, -1))
        dirty_config_source_push(L, lua_gettop(L), &options.source);
    fflush(NULL); /* flush, or the workers would write the configuration's output again */
    int status = dirty_arbiter_run(&options);
    dirty_timelimit_exit(status, DIRTY_TIMELIMIT_MS);
    lua_pushinteger(L, status);
    return 1;
}

static int free_buf(lua_State *L) {
    dirty_buf_deinit(lua_touserdata(L, 1));
    return 0;
}

/* Push an empty buffer that the collector frees. [-0, +1] */
static dirty_buf *push_buf(lua_State *L) {
    dirty_buf *buf = lua_newuserdata(L, sizeof *buf);
    *buf = (dirty_buf){0};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_buf);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return buf;
}

static int probe(lua_State *L) {
    dirty_arbiter_options options;
    luaL_checktype(L, 2, LUA_TBOOLEAN);
    lua_settop(L, 3);
    dirty_cli_options_push(L, 1, &options);
    dirty_buf *kept = push_buf(L);
    dirty_buf lines = {0}; /* on the stack, for the leak sanitizer in a child */
    bool captured = lua_toboolean(L, 3) && dirty_capture_open() == 0;
    if (captured)
        dirty_capture_begin();
    int rc = dirty_cli_try_apps(&options, lua_toboolean(L, 2), &lines);
    if (captured)
        dirty_capture_end();
    *kept = lines;
    if (rc < 0)
        return push_error(L, rc);
    lua_pushlstring(L, (const char *)lines.base, lines.len);
    dirty_buf_deinit(kept); /* free it now: workers are forked from this state */
    return 1;
}

static int check_level(lua_State *L, int index) {
    int level = dirty_log_level_parse(luaL_checkstring(L, index));
    return level >= 0 ? level : luaL_argerror(L, index, "not a log level");
}

static int log_open(lua_State *L) {
    const char *path = luaL_optstring(L, 1, NULL);
    int rc = dirty_log_open(path, (dirty_log_level)check_level(L, 2));
    if (rc != 0) {
        lua_pushnil(L);
        lua_pushstring(L, dirty_safe_reason(rc));
        lua_pushinteger(L, -rc);
        return 3;
    }
    static const char *const formats[] = {"logfmt", "json", "text", NULL};
    dirty_log_as((dirty_log_format)luaL_checkoption(L, 3, "logfmt", formats));
    lua_pushboolean(L, 1);
    return 1;
}

static int log_level(lua_State *L) {
    dirty_log_set_level((dirty_log_level)check_level(L, 1));
    return 0;
}

static int log_text(lua_State *L) {
    dirty_log((dirty_log_level)check_level(L, 1), luaL_checkstring(L, 2), "%s", "");
    return 0;
}

static int log_echo(lua_State *L) {
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    dirty_log_echo(lua_toboolean(L, 1));
    return 0;
}

static int loaded_open(lua_State *L) {
    int rc = dirty_loaded_open();
    if (rc < 0)
        return push_error(L, rc);
    lua_pushboolean(L, 1);
    return 1;
}

static int loaded(lua_State *L) {
    dirty_loaded_tell(luaL_checkstring(L, 1));
    return 0;
}

static int log_told(lua_State *L) {
    dirty_log_told(luaL_checkstring(L, 1));
    return 0;
}

void dirty_serve_register(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"serve", serve},         {"probe", probe},
        {"log_open", log_open},   {"log", log_text},
        {"log_level", log_level}, {"log_echo", log_echo},
        {"log_told", log_told},   {"loaded_open", loaded_open},
        {"loaded", loaded},       {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
