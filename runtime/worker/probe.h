/* probe: tries apps in a child process before anything is served, and reports what they
 * declare or why they fail. A crash or an endless loop in an app ends that child only.
 * The apps after it are tried in another child. */
#ifndef DIRTY_PROBE_H
#define DIRTY_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/worker_start.h"

/* What to try. Everything is borrowed. Of `start` only the apps, limits, lua_path and
 * lua_cpath are used. */
typedef struct dirty_probe {
    const dirty_worker_start *start;
    bool boot;           /* also run new, init and close, as `dirty check` does */
    uint32_t timeout_ms; /* for one app; 0: no limit */
} dirty_probe;

/* Try every app. Append one line per app to `out`, in their order, each a JSON object:
 *
 *   {"app","ok":true,"declared":{"workers","timeout","max_queue"},"file","ms"}
 *   {"app","ok":false,"phase","message","traceback","ms"}
 *
 * phase is "load", "new" or "init"; traceback and file may be missing. Returns 0 when all
 * apps were tried, good or not; -errno if a child can't be started. Takes at most
 * app_count times timeout_ms, plus a second for the end of each child. */
int dirty_probe_run(const dirty_probe *probe, dirty_buf *out);

#endif
