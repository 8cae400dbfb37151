/* apart: an app that can't boot takes no other app with it.
 *
 * Apps share workers, and a worker serves only when all of its apps have booted. So an
 * app whose code on the disk is broken, or whose init fails, would end the service of all
 * as the workers of its former code go. When boots have failed at one app again and again
 * it is set apart (plan.h): the others are served on, it gets NO_WORKERS with the reason
 * and is tried again in a worker of its own. Once that serves, a reload deals it to all.
 */
#ifndef DIRTY_ARBITER_QUARANTINE_H
#define DIRTY_ARBITER_QUARANTINE_H

#include "arbiter/internal.h"

/* Look at boots that have failed: apps that they fail at are set apart. */
void quarantine_step(arbiter *a);

/* Every second: reload if all that were set apart serve again, by the configuration that
 * holds: nobody has asked for what its file says now. */
void quarantine_check(arbiter *a);

#endif
