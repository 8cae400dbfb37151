/* sys: the Lua module dirty.sys with the C functions of the command line.
 *
 * System errors are returned as nil, text, errno. Wrong arguments raise. */
#ifndef DIRTY_SYS_H
#define DIRTY_SYS_H

#include <lua.h>

/* dirty.sys = {
 *   version = {dirty=, libuv=, protocol=},              strings, protocol a number
 *   paths = {lua=, c=, apps=, default_lua=, default_c=}, templates (cli/paths.h)
 *   cpus() -> n                                         usable, >= 1
 *   now() -> seconds on a clock that only goes forward      sleep(seconds)
 *   isatty(fd) -> boolean      pid() -> n      uid() -> n (effective)
 *   stat(path) -> {type="file"|"directory"|"socket"|"other", mode=, uid=, gid=, size=}
 *   cwd() -> path      chdir(path) -> true      mkdir(path, mode) -> true
 *   user_id(name) -> n      group_id(name) -> n         nil where there is none
 *   call(call) -> values        default_socket() -> path                (cli/call.h)
 *   serve(options) -> status    log_open(path, level)    log(level, text)   (cli/serve.h)
 *   log_level(level)
 *   log_echo(on)    log_told(text)                                     (cli/serve.h)
 *   aside(f, ms) -> line    bounded(f) -> true    odd_file(path) -> kind
 *   end_after(ms, status, text)                                        (cli/forked.h)
 *   spare_children()
 *   supervise(options) -> status | table    settle(table, rights)
 *   drop(user, group)    rights(user, group) -> uid, gid, rights    safe_user(rights)
 *   try_pidfile(path) -> true | nil, text
 *   try_log(path) -> true | nil, text
 *   strange_hand(path) -> nil | table | nil, text       (cli/supervise.h)
 * } */
int luaopen_dirty_sys(lua_State *L);

#endif
