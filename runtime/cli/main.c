/* main: the command `dirty`, an embedded LuaJIT that runs the module dirty.cli.
 *
 * The command is written in Lua (lua/dirty/cli.lua). It uses C through the modules
 * dirty.sys and dirty.core. Everything runs in a protected call: an internal error prints
 * its traceback and exits with 70. The command never ends silently. */
#include <fcntl.h>
#include <limits.h>
#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/program.h"
#include "base/title.h"
#include "base/utf8.h"
#include "cli/paths.h"
#include "cli/sys.h"
#include "luabind/core.h"
#include "supervisor/inheritance.h"
#include "supervisor/spawner.h"
#include "worker/lua_modules.h"
#include "worker/pin.h"

#define EXIT_INTERNAL 70 /* EX_SOFTWARE of sysexits.h */

struct command {
    int argc;
    char **argv;
    int status;
};

/* Message handler: adds a traceback. Also handles errors that are not strings. */
static int add_traceback(lua_State *L) {
    if (!lua_isstring(L, 1)) {
        if (!luaL_callmeta(L, 1, "__tostring"))
            lua_pushfstring(L, "(an error that is a %s)", luaL_typename(L, 1));
        lua_replace(L, 1);
    }
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

/* Check the LuaJIT library: the one at run time may differ from the one at build time. */
static void check_luajit(lua_State *L) {
    static const char check[] =
        "local ok, ffi = pcall(require, 'ffi')\n"
        "if not ok or not jit or jit.version_num < 20100 then\n"
        "    error('LuaJIT 2.1 is needed, this is ' .. (jit and jit.version or _VERSION)"
        ", 0)\n"
        "elseif not ffi.abi('gc64') then\n"
        "    error('a LuaJIT with GC64 is needed, this ' .. jit.version .. ' has it off:'"
        "\n        .. ' build it with -DLUAJIT_ENABLE_GC64', 0)\n"
        "end";
    if (luaL_loadstring(L, check) != 0)
        lua_error(L);
    lua_call(L, 0, 0);
}

static void preload(lua_State *L, const char *name, lua_CFunction open) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, open);
    lua_setfield(L, -2, name);
    lua_pop(L, 2);
}

/* Push package.searchpath("cjson", package.cpath): a path, or nil. [-0, +1] */
static void push_cjson_path(lua_State *L) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchpath");
    lua_pushliteral(L, "cjson");
    lua_getfield(L, -3, "cpath");
    lua_call(L, 2, 1);
    lua_remove(L, -2);
}

/* Read our own modules before any of them is loaded. The processes of a runtime use what
 * is read here for as long as the runtime lives. */
static void keep_own_modules(lua_State *L) {
    char at[PATH_MAX] = "";
    int top = lua_gettop(L);
    dirty_paths_push(L);
    lua_getfield(L, -1, "own");
    int rc = lua_isstring(L, -1) ? dirty_lua_modules_read(lua_tostring(L, -1), at) : 0;
    if (rc < 0)
        luaL_error(L, "can't read %s, a part of dirty: %s", at, strerror(-rc));
    push_cjson_path(L);
    if (lua_isstring(L, -1)) /* if it can't be kept, it is used from its file */
        dirty_lua_modules_keep_cjson(lua_tostring(L, -1));
    dirty_lua_modules_add("dirty.core", luaopen_dirty_core);
    dirty_lua_modules_open(L);
    lua_settop(L, top);
}

/* require("dirty.cli").main({argv[1], ...}) -> exit status */
static void run_main(lua_State *L, struct command *command) {
    lua_getglobal(L, "require");
    lua_pushliteral(L, "dirty.cli");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_createtable(L, command->argc, 0);
    for (int i = 1; i < command->argc; i++) {
        lua_pushstring(L, command->argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_call(L, 1, 1);
    command->status = (int)luaL_checkinteger(L, -1);
}

static int run_unprotected(lua_State *L) {
    struct command *command = lua_touserdata(L, 1);
    luaL_openlibs(L);
    check_luajit(L);
    dirty_paths_setup(L);
    preload(L, "dirty.sys", luaopen_dirty_sys);
    preload(L, "dirty.core", luaopen_dirty_core);
    if (command->argc > 1 && strcmp(command->argv[1], "serve") == 0)
        keep_own_modules(L);
    run_main(L, command);
    return 0;
}

static int run(lua_State *L) {
    void *command = lua_touserdata(L, 1);
    lua_pushcfunction(L, add_traceback);
    lua_pushcfunction(L, run_unprotected);
    lua_pushlightuserdata(L, command);
    if (lua_pcall(L, 1, 0, -3) != 0)
        lua_error(L);
    return 0;
}

/* Print the message on top of the stack. It may contain text of a peer or an app, so
 * controls are replaced. */
static void tell_internal_error(lua_State *L) {
    size_t len;
    const char *message = lua_tolstring(L, -1, &len);
    char *copy = message != NULL ? malloc(len) : NULL;
    if (copy != NULL) {
        memcpy(copy, message, len);
        len = dirty_utf8_tame(copy, len, "\n\t");
        fprintf(stderr, "dirty: internal error: %.*s\n", (int)len, copy);
    } else {
        fputs("dirty: internal error: (no message)\n", stderr);
    }
    free(copy);
}

/* Open descriptors 0, 1 and 2 if they are closed. Otherwise the next opened file would
 * get the number and be written to as if it were the terminal. A closed stdout becomes
 * one that can't be written to, so that a command reports that its output is lost. */
static void fill_stdio(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR);
}

int main(int argc, char **argv) {
    fill_stdio(); /* first: nothing that is opened may have such a number */
    dirty_program_remember(argc, argv);
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        dirty_inheritance_open();
    dirty_descriptors_note_given();
    dirty_pin_thread();   /* a configuration may set another locale */
    dirty_spawner_open(); /* early: it uses fixed descriptor numbers */
    /* The parent may have ignored it. Then we could not wait for our children. */
    signal(SIGCHLD, SIG_DFL);
    dirty_title_open(argc, argv, false);
    struct command command = {argc, argv, EXIT_INTERNAL};
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        fputs("dirty: out of memory for a Lua state\n", stderr);
        return EXIT_INTERNAL;
    }
    if (lua_cpcall(L, run, &command) != 0) {
        tell_internal_error(L);
        command.status = EXIT_INTERNAL;
    }
    lua_close(L);
    dirty_spawner_end(command.status);
    return command.status;
}
