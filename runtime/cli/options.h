/* options: converts the configuration table of the command line to the struct of the
 * arbiter.
 *
 * The table has a field for every field of dirty_arbiter_options (arbiter/arbiter.h),
 * with the same name. The fields of `limits` are fields of the table itself. `admin_uids`
 * is a list of numbers or nil. `apps` is a list of tables with the fields of
 * dirty_app_spec. `hooks` is a table of functions (cli/hooks.h), `supervised` the table
 * of cli/supervise.h or nil. cli/config_source.h reads the field `source`. */
#ifndef DIRTY_CLI_OPTIONS_H
#define DIRTY_CLI_OPTIONS_H

#include <lua.h>

#include "arbiter/arbiter.h"

/* Fill `out` from the table at the absolute `index`. Pushes a value that holds what `out`
 * refers to, the table included. Keep that value reachable, and the table unchanged,
 * while `out` is used. Raises if a field is missing or a number does not fit. [-0, +1] */
void dirty_cli_options_push(lua_State *L, int index, dirty_arbiter_options *out);

#endif
