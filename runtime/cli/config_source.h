/* source: where a reload gets its configuration from: four functions of the command
 * line.
 *
 *   read(same)      -> line, options | nil     the configuration as it is now, or (same)
 *                                              as it was when it last came to hold
 *   begin()                                    remember what finish may change
 *   finish(report)  -> options, kept | nil, reason   … with what its apps declare
 *   settle(done)                               it holds, or all is put back
 *
 * `options` is the table of cli/options.h, `reason` one line for people, as is `kept`:
 * what of the file can't be taken over, or nil. An error that finish raises is its
 * reason. read is called in a child of the arbiter, as the file may
 * do anything and take any time. `report` is all that comes from there: the line that
 * read gave, then, if it gave options, the lines of worker/probe.h. The others are called
 * in the arbiter, one after the other; finish has a limit of time (cli/timelimit.h), and
 * may be ended anywhere by it. The collector of L runs in such calls alone: what it ends
 * may take any time, too. It runs to its end before and in each: a child that had its
 * work to do would close files whose numbers are others' there. */
#ifndef DIRTY_CLI_CONFIG_SOURCE_H
#define DIRTY_CLI_CONFIG_SOURCE_H

#include <lua.h>

#include "arbiter/arbiter.h"

/* Make `out` use the functions of the table at the absolute `index`. Pushes what out
 * refers to: it must stay reachable, and L open, while out is used. May raise.
 * [-0, +1] */
void dirty_config_source_push(lua_State *L, int index, dirty_config_source *out);

#endif
