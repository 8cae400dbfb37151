/* apart: an app that can't boot takes no other app with it.
 *
 * Apps share workers, and a worker serves only when all of its apps have booted. So an
 * app whose code on the disk is broken, or whose init fails, would end the service of all
 * as the workers of its former code go. When boots have failed at one app again and again
 * it is set apart (plan.h): the others are served on, it gets NO_WORKERS with the reason
 * and is tried again in a worker of its own. Once that serves, a reload deals it to all.
 */
#ifndef DIRTY_ARBITER_APART_H
#define DIRTY_ARBITER_APART_H

#include "arbiter/place.h"
#include "arbiter/state.h"

/* A worker of the place that is not ready has ended, for the reason `how`. True: the app
 * that it failed at was set apart, so the place need not wait before the next boot. */
bool apart_blame(place *p, const worker *w, const char *how);

/* The place has a worker that is ready: nobody is to blame. */
void apart_forgive(place *p);

/* Every second: reload if all that were set apart serve again, by the configuration that
 * holds: nobody has asked for what its file says now. */
void apart_check(arbiter *a);

#endif
