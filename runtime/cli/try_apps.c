#include "cli/try_apps.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "worker/probe.h"

int dirty_cli_try_apps(const dirty_arbiter_options *options, bool boot, dirty_buf *out) {
    const dirty_app_spec **apps = calloc(options->app_count + 1ul, sizeof(*apps));
    if (apps == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < options->app_count; i++)
        apps[i] = &options->apps[i];
    dirty_worker_start start = {.arbiter_pid = getpid(),
                                .app_count = options->app_count,
                                .apps = apps,
                                .limits = options->limits,
                                .lua_path = options->lua_path,
                                .lua_cpath = options->lua_cpath};
    dirty_probe request = {
        .start = &start, .boot = boot, .timeout_ms = options->boot_timeout_ms};
    int rc = dirty_probe_run(&request, out);
    free(apps);
    return rc;
}
