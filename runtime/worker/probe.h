/* probe: load the apps in a throw-away child, to learn what they declare or why they do
 * not load, before anything is served. A crash or an endless loop in an app ends that
 * child; the apps after it are tried in another. */
#ifndef DIRTY_PROBE_H
#define DIRTY_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/worker_start.h"

/* What to try. Everything is borrowed. Of `start` the apps, limits, lua_path and
 * lua_cpath are used. */
typedef struct dirty_probe {
    const dirty_worker_start *start;
    bool boot;           /* also new, init and close, as `dirty check` does */
    uint32_t timeout_ms; /* that one app may take, 0: none */
} dirty_probe;

/* Try every app and append one line per app to `out`, in their order, each a JSON object:
 *
 *   {"app","ok":true,"declared":{"workers","timeout","max_queue"},"file","ms"}
 *   {"app","ok":false,"phase","message","traceback","ms"}
 *
 * phase is "load", "new" or "init"; traceback and file may be missing. 0 when all are
 * tried, whether or not all are good; -errno when no child can be had. Takes at most
 * app_count times timeout_ms, and a second for the end of each child. */
int dirty_probe_run(const dirty_probe *probe, dirty_buf *out);

#endif
