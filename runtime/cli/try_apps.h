/* try_apps: runs the probe (worker/probe.h) on all apps of a configuration. */
#ifndef DIRTY_TRY_APPS_H
#define DIRTY_TRY_APPS_H

#include "arbiter/arbiter.h"
#include "base/buf.h"

/* Load every app in a child of this process and append the probe's lines to `out`. With
 * `boot` also create and close its object. Each app has boot_timeout_ms. Returns 0 or
 * -errno. */
int dirty_cli_try_apps(const dirty_arbiter_options *options, bool boot, dirty_buf *out);

#endif
