/* supervise: the part of dirty.sys that runs the supervisor and gives rights up. */
#ifndef DIRTY_CLI_SUPERVISE_H
#define DIRTY_CLI_SUPERVISE_H

#include <lua.h>

/* Add to the table on top of the stack:
 *   safe_user(rights) -> true | nil, text
 *       They are to run below us with those, which are fewer (base/safe_file.h).
 *   strange_hand(path) -> nil | {what="owner"|"writers"|"names", path=, is_directory=,
 *       mode=, uid=, gid=}
 *       Whether somebody but root and us may change an existing file, or put another in
 *       its place: by which file or directory (base/trail.h). nil too where it can't be
 *       followed.
 *   try_pidfile(path) -> true | nil, text
 *       Whether a pidfile can be written there (base/pidfile.h).
 *   spare_children()
 *       Those that this process has now are not ours (supervisor/sweep.h).
 *   supervise(options) -> status | table
 *       Supervise (supervisor/supervisor.h). The exit status at the end, or, in every
 *       process that is to become an arbiter, {listen_fd=, socket_fd=, report_fd=,
 *       report_ms=, supervisor_pid=, parent_pid=, restarts=, hangs=, last_exit=}; of
 *       these socket_fd is the file of the socket, opened by O_PATH. `options` has
 *       socket_path, socket_mode, socket_uid, socket_gid, backlog, start_timeout_ms,
 *       hang_ms and pidfile|nil.
 *   settle(table, rights) -> true | nil, text
 *       In such a process: take those rights, and end with the parent from now on.
 *   drop(user|nil, group|nil) -> true | nil, text
 *       Become that user for good, in any process.
 *   rights(user|nil, group|nil) -> uid, gid, rights | nil, text
 *       Whom those two would become, -1: who we are; for settle.
 * May raise. [-0, +0] */
void dirty_supervise_register(lua_State *L);

#endif
