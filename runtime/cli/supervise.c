#include "cli/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/pidfile.h"
#include "base/safe_file.h"
#include "base/title.h"
#include "base/trail.h"
#include "cli/timelimit.h"
#include "supervisor/supervisor.h"
#include "supervisor/sweep.h"

/* The metatable of a dirty_credentials userdata. */
#define CREDENTIALS "dirty.rights"

static lua_Number get_number(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    if (!lua_isnumber(L, -1))
        luaL_error(L, "%s must be a number", name);
    lua_Number value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

/* options[name]; NULL if nil. Borrowed from the table. */
static const char *get_string(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    const char *text = luaL_optstring(L, -1, NULL);
    lua_pop(L, 1);
    return text;
}

static void set_number(lua_State *L, const char *name, lua_Number value) {
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static void push_supervised(lua_State *L, const dirty_supervised *child) {
    lua_createtable(L, 0, 11);
    lua_pushboolean(L, child->waits);
    lua_setfield(L, -2, "waits");
    lua_pushboolean(L, child->lent);
    lua_setfield(L, -2, "socket_lent");
    set_number(L, "socket_fd", child->socket_fd);
    set_number(L, "listen_fd", child->listen_fd);
    set_number(L, "report_fd", child->report_fd);
    set_number(L, "report_ms", child->report_ms);
    set_number(L, "supervisor_pid", child->supervisor_pid);
    set_number(L, "parent_pid", child->parent_pid);
    set_number(L, "restarts", child->restarts);
    set_number(L, "hangs", child->hangs);
    lua_pushstring(L, child->last_exit);
    lua_setfield(L, -2, "last_exit");
}

static int spare_children(lua_State *L) {
    (void)L;
    dirty_sweep_spare();
    return 0;
}

static int supervise(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    dirty_supervisor_options options = {
        .socket = {.path = get_string(L, 1, "socket_path"),
                   .mode = (uint32_t)get_number(L, 1, "socket_mode"),
                   .uid = (int64_t)get_number(L, 1, "socket_uid"),
                   .gid = (int64_t)get_number(L, 1, "socket_gid"),
                   .backlog = (uint32_t)get_number(L, 1, "backlog")},
        .pidfile = get_string(L, 1, "pidfile"),
        .start_timeout_ms = (uint32_t)get_number(L, 1, "start_timeout_ms"),
        .hang_ms = (uint32_t)get_number(L, 1, "hang_ms"),
        .set_title = dirty_title_set};
    luaL_argcheck(L, options.socket.path != NULL, 1, "socket_path is missing");
    dirty_title_subject(options.socket.path);
    dirty_supervised child;
    fflush(
        NULL); /* flush, or the arbiters would write the configuration's output again */
    int status = dirty_supervisor_run(&options, &child);
    if (status == DIRTY_SUPERVISED) {
        push_supervised(L, &child);
        return 1;
    }
    dirty_timelimit_exit(status, DIRTY_TIMELIMIT_MS);
    lua_pushinteger(L, status);
    return 1;
}

static int push_failure(lua_State *L, const char *text) {
    lua_pushnil(L);
    lua_pushstring(L, text);
    return 2;
}

/* Find the credentials for the two arguments from `index` on. Returns 0, or -1 with the
 * reason in `why`. */
static int find_credentials(lua_State *L, int index, dirty_credentials *credentials,
                            char *why, size_t why_size) {
    return dirty_credentials_find(credentials, luaL_optstring(L, index, NULL),
                                  luaL_optstring(L, index + 1, NULL), why, why_size);
}

static int settle(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    const dirty_credentials *credentials = luaL_checkudata(L, 2, CREDENTIALS);
    dirty_supervised child = {.parent_pid = (pid_t)get_number(L, 1, "parent_pid")};
    int rc = dirty_supervised_settle(&child, credentials);
    if (rc < 0)
        return push_failure(L, strerror(-rc));
    lua_pushboolean(L, 1);
    return 1;
}

static int drop(lua_State *L) {
    char why[300];
    dirty_credentials credentials;
    if (find_credentials(L, 1, &credentials, why, sizeof why) < 0)
        return push_failure(L, why);
    int rc = dirty_credentials_take(&credentials);
    dirty_credentials_deinit(&credentials);
    if (rc < 0)
        return push_failure(L, strerror(-rc));
    lua_pushboolean(L, 1);
    return 1;
}

static int free_credentials(lua_State *L) {
    dirty_credentials_deinit(lua_touserdata(L, 1));
    return 0;
}

/* Look up the credentials once, for all arbiters: the user database may be on a remote
 * server. */
static int credentials_of(lua_State *L) {
    char why[300];
    lua_settop(L, 2);
    dirty_credentials *credentials = lua_newuserdata(L, sizeof *credentials);
    *credentials = (dirty_credentials){.uid = -1, .gid = -1};
    if (luaL_newmetatable(L, CREDENTIALS)) {
        lua_pushcfunction(L, free_credentials);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    if (find_credentials(L, 1, credentials, why, sizeof why) < 0)
        return push_failure(L, why);
    lua_pushnumber(L, (lua_Number)credentials->uid);
    lua_pushnumber(L, (lua_Number)credentials->gid);
    lua_pushvalue(L, 3);
    return 3;
}

static int try_pidfile(lua_State *L) {
    int rc = dirty_pidfile_try(luaL_checkstring(L, 1));
    if (rc < 0)
        return push_failure(L, dirty_safe_reason(rc));
    lua_pushboolean(L, 1);
    return 1;
}

/* Whether the log can be opened, without making it. */
static int try_log(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    int rc = dirty_safe_open(path, O_WRONLY | O_APPEND, 0, DIRTY_SAFE_DEVICES);
    if (rc >= 0)
        close(rc);
    else if (rc == -ENOENT)
        rc = dirty_pidfile_try(path);
    if (rc < 0)
        return push_failure(L, dirty_safe_reason(rc));
    lua_pushboolean(L, 1);
    return 1;
}

static int safe_user(lua_State *L) {
    const dirty_credentials *credentials = luaL_checkudata(L, 1, CREDENTIALS);
    const gid_t gid = (gid_t)credentials->gid;
    int rc = 0;
    if (credentials->uid >= 0)
        rc = dirty_safe_user((uid_t)credentials->uid, gid,
                             credentials->groups ? credentials->groups : &gid,
                             credentials->groups ? credentials->group_count : 1);
    if (rc < 0)
        return push_failure(L, strerror(-rc));
    lua_pushboolean(L, 1);
    return 1;
}

static int strange_hand(lua_State *L) {
    static const char *const whats[] = {[DIRTY_TRAIL_OWNER] = "owner",
                                        [DIRTY_TRAIL_WRITERS] = "writers",
                                        [DIRTY_TRAIL_NAMES] = "names"};
    dirty_trail_fault fault;
    int rc = dirty_trail_judge(luaL_checkstring(L, 1), &fault);
    if (rc < 0)
        return push_failure(L, strerror(-rc));
    if (rc == 0)
        return 0;
    lua_createtable(L, 0, 6);
    lua_pushstring(L, whats[fault.what]);
    lua_setfield(L, -2, "what");
    lua_pushstring(L, fault.path);
    lua_setfield(L, -2, "path");
    lua_pushboolean(L, S_ISDIR(fault.st.st_mode));
    lua_setfield(L, -2, "is_directory");
    set_number(L, "mode", fault.st.st_mode & 07777);
    set_number(L, "uid", fault.st.st_uid);
    set_number(L, "gid", fault.st.st_gid);
    return 1;
}

void dirty_supervise_register(lua_State *L) {
    static const luaL_Reg functions[] = {{"spare_children", spare_children},
                                         {"supervise", supervise},
                                         {"settle", settle},
                                         {"drop", drop},
                                         {"rights", credentials_of},
                                         {"safe_user", safe_user},
                                         {"strange_hand", strange_hand},
                                         {"try_log", try_log},
                                         {"try_pidfile", try_pidfile},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
