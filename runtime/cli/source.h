/* source: where a reload gets its configuration from: two functions of the command line.
 *
 *   read()          -> options | nil, reason    the configuration as it is now
 *   finish(report)  -> options | nil, reason    … with what its apps declare
 *
 * `options` is the table of cli/options.h, `report` the lines of worker/probe.h, `reason`
 * one line for people. An error that either raises is its reason. */
#ifndef DIRTY_CLI_SOURCE_H
#define DIRTY_CLI_SOURCE_H

#include <lua.h>

#include "arbiter/arbiter.h"

/* Make `out` use the functions of the table at the absolute `index`. Pushes what out
 * refers to: it must stay reachable, and L open, while out is used. May raise.
 * [-0, +1] */
void dirty_cli_source_push(lua_State *L, int index, dirty_config_source *out);

#endif
