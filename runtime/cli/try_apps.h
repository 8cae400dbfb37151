/* try_apps: the probe (worker/probe.h) over all apps of a configuration. */
#ifndef DIRTY_TRY_APPS_H
#define DIRTY_TRY_APPS_H

#include "arbiter/arbiter.h"
#include "base/buf.h"

/* Load every app in a child of this process, with `boot` make and close its object too,
 * and append the probe's lines to `out`. One app may take boot_timeout_ms. 0 or -errno.
 */
int dirty_cli_try_apps(const dirty_arbiter_options *options, bool boot, dirty_buf *out);

#endif
