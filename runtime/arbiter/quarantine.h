/* quarantine: an app that fails to boot is hosted alone, so that other apps keep serving.
 *
 * Apps share workers, and a worker serves only after all of its apps have booted. So one
 * broken app could stop all apps, one worker after another. When boots fail at one app
 * again and again, the app is quarantined (plan.h). Its callers get NO_WORKERS with the
 * reason. It is tried again in a worker of its own. Once that worker serves, a reload
 * deals the app to all workers. */
#ifndef DIRTY_ARBITER_QUARANTINE_H
#define DIRTY_ARBITER_QUARANTINE_H

#include "arbiter/internal.h"

/* Look at failed boots. Quarantine the apps that they failed at. */
void quarantine_step(arbiter *a);

/* Call it every second. Starts a reload once all quarantined apps serve again. The reload
 * uses the current configuration, because nobody asked to read the file. */
void quarantine_check(arbiter *a);

#endif
