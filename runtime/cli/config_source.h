/* config_source: where a reload gets its configuration from: four functions of the
 * command line.
 *
 *   read(same)      -> line, options | nil     the current configuration, or (same) the
 *                                              one that was last accepted
 *   begin()                                    save what finish may change
 *   finish(report)  -> options, kept | nil, reason   … with what its apps declare
 *   settle(done)                               accept the changes, or restore all
 *
 * `options` is the table of cli/options.h. `reason` is one line for people. `kept` is one
 * line that names what can't be changed by a reload, or nil. An error raised in finish is
 * its reason.
 *
 * read is called in a child of the arbiter, because the file may do anything and take any
 * time. `report` is all output of that child: the line from read, and, if there are
 * options, the lines of worker/probe.h. The other functions are called in the arbiter,
 * one after the other. finish has a time limit (cli/timelimit.h), which may interrupt it
 * anywhere.
 *
 * The collector of L is stopped outside of these calls, because finalizers may take any
 * time. It runs to its end before and in each call. Otherwise a child would inherit
 * unfinished work and would close files whose descriptor numbers mean something else
 * there. */
#ifndef DIRTY_CLI_CONFIG_SOURCE_H
#define DIRTY_CLI_CONFIG_SOURCE_H

#include <lua.h>

#include "arbiter/arbiter.h"

/* Make `out` use the functions of the table at the absolute `index`. Pushes a value that
 * holds what `out` refers to. Keep that value reachable, and L open, while `out` is used.
 * May raise. [-0, +1] */
void dirty_config_source_push(lua_State *L, int index, dirty_config_source *out);

#endif
