#include "cli/options.h"

#include <lauxlib.h>

#include "cli/hooks.h"
#include "worker/worker.h"

/* options[name] as an integer from 0 to `max`. Raises for anything else. [-0, +0] */
static lua_Number get_whole(lua_State *L, int index, const char *name, lua_Number max) {
    lua_getfield(L, index, name);
    lua_Number value = lua_tonumber(L, -1);
    if (!lua_isnumber(L, -1) || !(value >= 0 && value <= max))
        luaL_error(L, "%s must be a number from 0 to %f", name, max);
    lua_pop(L, 1);
    return value;
}

static uint32_t get_number(lua_State *L, int index, const char *name, uint32_t max) {
    return (uint32_t)get_whole(L, index, name, max);
}

static uint64_t get_size(lua_State *L, int index, const char *name) {
    return (uint64_t)get_whole(L, index, name, (lua_Number)(1ull << 53));
}

static bool get_boolean(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* A user or group id; -1: unchanged. [-0, +0] */
static int64_t get_id(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    int64_t id = lua_isnumber(L, -1) ? (int64_t)lua_tonumber(L, -1) : -1;
    lua_pop(L, 1);
    return id;
}

/* options[name]; NULL if nil. Borrowed from the table while that stays on the stack and
 * unchanged. [-0, +0] */
static const char *get_string(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (text == NULL && !lua_isnil(L, -1))
        luaL_error(L, "%s must be a string, it is a %s", name, luaL_typename(L, -1));
    lua_pop(L, 1);
    return text;
}

static const char *need_string(lua_State *L, int index, const char *name) {
    const char *text = get_string(L, index, name);
    if (text == NULL)
        luaL_error(L, "%s is missing", name);
    return text;
}

static void get_app(lua_State *L, int index, dirty_app_spec *out) {
    luaL_checktype(L, index, LUA_TTABLE);
    *out = (dirty_app_spec){
        .name = need_string(L, index, "name"),
        .module = need_string(L, index, "module"),
        .object = get_string(L, index, "object"),
        .options = need_string(L, index, "options"),
        .timeout_ms = get_number(L, index, "timeout_ms", INT32_MAX),
        .max_queue = get_number(L, index, "max_queue", INT32_MAX),
        .workers = get_number(L, index, "workers", INT32_MAX),
        .interruptible = get_boolean(L, index, "interruptible"),
        .cancel_on_disconnect = get_boolean(L, index, "cancel_on_disconnect"),
        .exclusive = get_boolean(L, index, "exclusive"),
        .isolated = get_boolean(L, index, "isolated"),
        .fault = get_string(L, index, "fault"),
    };
}

/* Push a block with the specs of options.apps. The block and the table own them.
 * [-0, +1] */
static const dirty_app_spec *push_apps(lua_State *L, int index, uint32_t *count) {
    lua_getfield(L, index, "apps");
    luaL_checktype(L, -1, LUA_TTABLE);
    int list = lua_gettop(L);
    size_t len = lua_objlen(L, list);
    dirty_app_spec *apps = lua_newuserdata(L, (len + 1) * sizeof *apps);
    for (size_t i = 0; i < len; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        get_app(L, lua_gettop(L), &apps[i]);
        lua_pop(L, 1);
    }
    lua_remove(L, list);
    *count = (uint32_t)len;
    return apps;
}

/* Push a block with the numbers of options.admin_uids, also for an empty list. If it is
 * nil, returns NULL and pushes nil. [-0, +1] */
static const uid_t *push_admins(lua_State *L, int index, uint32_t *count) {
    *count = 0;
    lua_getfield(L, index, "admin_uids");
    if (!lua_istable(L, -1))
        return NULL;
    int list = lua_gettop(L);
    size_t len = lua_objlen(L, list);
    uid_t *uids = lua_newuserdata(L, (len + 1) * sizeof *uids);
    for (size_t i = 0; i < len; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        uids[i] = (uid_t)luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    lua_remove(L, list);
    *count = (uint32_t)len;
    return uids;
}

static dirty_wire_limits get_limits(lua_State *L, int index) {
    return (dirty_wire_limits){
        .max_message = get_number(L, index, "max_message", UINT32_MAX),
        .max_args = get_number(L, index, "max_args", UINT16_MAX),
        .max_depth = get_number(L, index, "max_depth", INT32_MAX),
        .send_timeout_ms = get_number(L, index, "send_timeout_ms", INT32_MAX),
    };
}

/* Move the value on top into the list below it, to keep it alive. [-1, +0] */
static void hold(lua_State *L) {
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

static void push_held(lua_State *L, int index, dirty_arbiter_options *out) {
    lua_createtable(L, 5, 0);
    lua_pushvalue(L, index);
    hold(L);
    out->admin_uids = push_admins(L, index, &out->admin_count);
    if (out->admin_uids != NULL)
        hold(L);
    else
        lua_pop(L, 1);
    out->apps = push_apps(L, index, &out->app_count);
    hold(L);
    lua_getfield(L, index, "hooks");
    dirty_hooks_push(L, lua_gettop(L), &out->hooks);
    lua_remove(L, -2);
    hold(L);
}

/* options.supervised, as returned by dirty.sys.supervise; optional. [-0, +0] */
static void get_supervised(lua_State *L, int index, dirty_arbiter_options *out) {
    lua_getfield(L, index, "supervised");
    if (lua_istable(L, -1)) {
        int child = lua_gettop(L);
        out->listen_fd = (int)get_number(L, child, "listen_fd", INT32_MAX);
        out->socket_fd = (int)get_number(L, child, "socket_fd", INT32_MAX);
        out->report_fd = (int)get_number(L, child, "report_fd", INT32_MAX);
        out->waits = get_boolean(L, child, "waits");
        out->socket_lent = get_boolean(L, child, "socket_lent");
        out->report_ms = get_number(L, child, "report_ms", INT32_MAX);
        out->supervisor_pid = (pid_t)get_number(L, child, "supervisor_pid", INT32_MAX);
        out->restarts = get_number(L, child, "restarts", UINT32_MAX);
        out->hangs = get_number(L, child, "hangs", UINT32_MAX);
        out->last_exit = need_string(L, child, "last_exit");
    }
    lua_pop(L, 1);
}

void dirty_cli_options_push(lua_State *L, int index, dirty_arbiter_options *out) {
    luaL_checktype(L, index, LUA_TTABLE);
    *out = (dirty_arbiter_options){
        .socket_path = need_string(L, index, "socket_path"),
        .socket_mode = get_number(L, index, "socket_mode", 0777),
        .socket_uid = get_id(L, index, "socket_uid"),
        .socket_gid = get_id(L, index, "socket_gid"),
        .backlog = get_number(L, index, "backlog", INT32_MAX),
        .workers = get_number(L, index, "workers", INT32_MAX),
        .threads = get_number(L, index, "threads", INT32_MAX),
        .max_queue = get_number(L, index, "max_queue", INT32_MAX),
        .graceful_timeout_ms = get_number(L, index, "graceful_timeout_ms", INT32_MAX),
        .timeout_grace_ms = get_number(L, index, "timeout_grace_ms", INT32_MAX),
        .boot_timeout_ms = get_number(L, index, "boot_timeout_ms", INT32_MAX),
        .recv_timeout_ms = get_number(L, index, "recv_timeout_ms", INT32_MAX),
        .max_requests = get_number(L, index, "max_requests", UINT32_MAX),
        .max_requests_jitter = get_number(L, index, "max_requests_jitter", UINT32_MAX),
        .max_rss_bytes = get_size(L, index, "max_rss_bytes"),
        .max_memory_bytes = get_size(L, index, "max_memory_bytes"),
        .fast_path = get_boolean(L, index, "fast_path"),
        .arbiter_timeout_ms = get_number(L, index, "arbiter_timeout_ms", INT32_MAX),
        .dev = get_boolean(L, index, "dev"),
        .allow_stack = get_boolean(L, index, "allow_stack"),
        .linger_timeout_ms = get_number(L, index, "linger_timeout_ms", INT32_MAX),
        .slow_log_threshold_ms = get_number(L, index, "slow_log_threshold_ms", INT32_MAX),
        .access_log = get_boolean(L, index, "access_log"),
        .log_level = get_string(L, index, "log_level"),
        .limits = get_limits(L, index),
        .lua_path = need_string(L, index, "lua_path"),
        .lua_cpath = need_string(L, index, "lua_cpath"),
        .directory = get_string(L, index, "directory"),
        .directory_name = get_string(L, index, "directory_name"),
        .log_file = get_string(L, index, "log_file"),
        .version_json = need_string(L, index, "version_json"),
        .worker_main = dirty_worker_main,
    };
    get_supervised(L, index, out);
    push_held(L, index, out);
}
