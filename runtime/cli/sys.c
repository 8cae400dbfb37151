#include "cli/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <lauxlib.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/guest.h"
#include "base/log.h"
#include "cli/forked.h"
#include "cli/call.h"
#include "cli/cpus.h"
#include "cli/paths.h"
#include "cli/serve.h"
#include "cli/supervise.h"
#include "wire/frame.h"

/* Return nil, text, errno. `err` is passed by value, because Lua's allocations may change
 * errno. */
static int push_errno(lua_State *L, int err) {
    lua_pushnil(L);
    lua_pushstring(L, strerror(err));
    lua_pushinteger(L, err);
    return 3;
}

static int push_result(lua_State *L, int rc) {
    if (rc != 0)
        return push_errno(L, errno);
    lua_pushboolean(L, 1);
    return 1;
}

static int sys_cpus(lua_State *L) {
    lua_pushinteger(L, dirty_cpus_usable());
    return 1;
}

static int sys_isatty(lua_State *L) {
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

static int sys_pid(lua_State *L) {
    lua_pushinteger(L, getpid());
    return 1;
}

static int sys_guest_begin(lua_State *L) {
    (void)L;
    dirty_guest_begin();
    return 0;
}

static int sys_guest_end(lua_State *L) {
    dirty_guest_end(luaL_checkstring(L, 1));
    return 0;
}

static int sys_uid(lua_State *L) {
    lua_pushnumber(L, geteuid());
    return 1;
}

static int sys_gid(lua_State *L) {
    lua_pushnumber(L, getegid());
    return 1;
}

static void set_number(lua_State *L, const char *name, lua_Number value) {
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static int sys_now(lua_State *L) {
    lua_pushnumber(L, (lua_Number)dirty_now_ns() / 1e9);
    return 1;
}

static int sys_sleep(lua_State *L) {
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds < 3600, 1, "0 to 3600 seconds");
    struct timespec left = {.tv_sec = (time_t)seconds};
    left.tv_nsec = (long)((seconds - (lua_Number)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        continue;
    return 0;
}

static int sys_stat(lua_State *L) {
    struct stat st;
    if (lstat(luaL_checkstring(L, 1), &st) != 0)
        return push_errno(L, errno);
    lua_createtable(L, 0, 5);
    lua_pushstring(L, S_ISREG(st.st_mode)    ? "file"
                      : S_ISDIR(st.st_mode)  ? "directory"
                      : S_ISSOCK(st.st_mode) ? "socket"
                      : S_ISLNK(st.st_mode)  ? "link"
                                             : "other");
    lua_setfield(L, -2, "type");
    set_number(L, "mode", st.st_mode & 07777);
    set_number(L, "uid", st.st_uid);
    set_number(L, "gid", st.st_gid);
    set_number(L, "size", (lua_Number)st.st_size);
    return 1;
}

static int sys_cwd(lua_State *L) {
    char path[PATH_MAX];
    if (getcwd(path, sizeof path) == NULL)
        return push_errno(L, errno);
    lua_pushstring(L, path);
    return 1;
}

/* The working directory by the name in $PWD, which may contain symlinks, if that is the
 * same directory. Else as cwd. */
static int sys_directory(lua_State *L) {
    struct stat named, here;
    const char *name = getenv("PWD");
    if (name == NULL || name[0] != '/' || stat(name, &named) != 0 ||
        stat(".", &here) != 0 || named.st_ino != here.st_ino ||
        named.st_dev != here.st_dev)
        return sys_cwd(L);
    lua_pushstring(L, name);
    return 1;
}

/* remember_directory() -> descriptor of the working directory, for one go_back; nil on
 * failure */
static int sys_remember_directory(lua_State *L) {
    int fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    lua_pushinteger(L, fd);
    return 1;
}

static int sys_go_back(lua_State *L) {
    if (lua_isnoneornil(L, 1))
        return 0;
    int fd = (int)luaL_checkinteger(L, 1);
    int rc = fchdir(fd);
    close(fd);
    if (rc < 0)
        dirty_log(DIRTY_LOG_WARN, "can't go back to the working directory", "reason=%s",
                  DIRTY_LOG_QUOTE(strerror(errno)));
    return 0;
}

static int sys_chdir(lua_State *L) {
    return push_result(L, chdir(luaL_checkstring(L, 1)));
}

static int sys_mkdir(lua_State *L) {
    return push_result(L, mkdir(luaL_checkstring(L, 1), (mode_t)luaL_checkinteger(L, 2)));
}

static int sys_user_id(lua_State *L) {
    struct passwd *user = getpwnam(luaL_checkstring(L, 1));
    if (user == NULL)
        return 0;
    lua_pushnumber(L, user->pw_uid);
    return 1;
}

static int sys_group_id(lua_State *L) {
    struct group *group = getgrnam(luaL_checkstring(L, 1));
    if (group == NULL)
        return 0;
    lua_pushnumber(L, group->gr_gid);
    return 1;
}

static void push_version(lua_State *L) {
    lua_createtable(L, 0, 3);
    lua_pushliteral(L, DIRTY_VERSION);
    lua_setfield(L, -2, "dirty");
    lua_pushstring(L, uv_version_string());
    lua_setfield(L, -2, "libuv");
    set_number(L, "protocol", DIRTY_WIRE_VERSION);
}

int luaopen_dirty_sys(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"cpus", sys_cpus},
        {"isatty", sys_isatty},
        {"pid", sys_pid},
        {"guest_begin", sys_guest_begin},
        {"guest_end", sys_guest_end},
        {"uid", sys_uid},
        {"gid", sys_gid},
        {"stat", sys_stat},
        {"cwd", sys_cwd},
        {"directory", sys_directory},
        {"remember_directory", sys_remember_directory},
        {"go_back", sys_go_back},
        {"chdir", sys_chdir},
        {"mkdir", sys_mkdir},
        {"user_id", sys_user_id},
        {"group_id", sys_group_id},
        {"now", sys_now},
        {"sleep", sys_sleep},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    push_version(L);
    lua_setfield(L, -2, "version");
    dirty_paths_push(L);
    lua_setfield(L, -2, "paths");
    dirty_cli_call_register(L);
    dirty_forked_register(L);
    dirty_serve_register(L);
    dirty_supervise_register(L);
    return 1;
}
