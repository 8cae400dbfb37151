/* supervise: the part of dirty.sys that runs the supervisor and drops privileges. */
#ifndef DIRTY_CLI_SUPERVISE_H
#define DIRTY_CLI_SUPERVISE_H

#include <lua.h>

/* Add to the table on top of the stack. `rights` is a userdata with credentials
 * (supervisor/credentials.h):
 *
 *   safe_user(rights) -> true | nil, text
 *       Children will run with these, lower credentials (base/safe_file.h).
 *   strange_hand(path) -> nil | {what="owner"|"writers"|"names", path=, is_directory=,
 *       mode=, uid=, gid=}
 *       Whether somebody but root and us can change or replace an existing file, and
 *       the file or directory that allows it (base/trail.h). Also nil if the path can't
 *       be followed.
 *   try_pidfile(path) -> true | nil, text
 *       Whether a pidfile can be written there (base/pidfile.h).
 *   spare_children()
 *       The sweeps spare the children that exist now (supervisor/sweep.h).
 *   supervise(options) -> status | table
 *       Supervise (supervisor/supervisor.h). Returns the exit status at the end; or, in
 *       every process that is to become an arbiter, {listen_fd=, socket_fd=, report_fd=,
 *       report_ms=, supervisor_pid=, parent_pid=, restarts=, hangs=, last_exit=}.
 *       socket_fd is the socket's file (O_PATH). `options` has socket_path, socket_mode,
 *       socket_uid, socket_gid, backlog, start_timeout_ms, hang_ms and pidfile|nil.
 *   settle(table, rights) -> true | nil, text
 *       In such a process: take these credentials, and end with the parent from now on.
 *   drop(user|nil, group|nil) -> true | nil, text
 *       Become that user for good, in any process.
 *   rights(user|nil, group|nil) -> uid, gid, rights | nil, text
 *       Look up these credentials, for settle. uid and gid are -1 if unchanged.
 *
 * May raise. [-0, +0] */
void dirty_supervise_register(lua_State *L);

#endif
