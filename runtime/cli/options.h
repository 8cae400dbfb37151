/* options: the table that the command line makes of a configuration, as the struct that
 * the arbiter takes.
 *
 * The table has a field for every field of dirty_arbiter_options (arbiter/arbiter.h),
 * under the same name, and of what it holds: `limits`' fields stand beside the others,
 * `admin_uids` is a list of numbers or nil, `apps` one of tables with the fields of
 * dirty_app_spec, `hooks` a table of
 * functions (cli/hooks.h), `supervised` the table of cli/supervise.h or nil. The field
 * `source` is for cli/config_source.h. */
#ifndef DIRTY_CLI_OPTIONS_H
#define DIRTY_CLI_OPTIONS_H

#include <lua.h>

#include "arbiter/arbiter.h"

/* Fill `out` from the table at the absolute `index`. What out refers to, the table
 * itself included, is held by the value that is pushed: it must stay reachable, and the
 * table unchanged, while out is used. A missing field, or a number that does not fit,
 * raises. [-0, +1] */
void dirty_cli_options_push(lua_State *L, int index, dirty_arbiter_options *out);

#endif
