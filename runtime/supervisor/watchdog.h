/* watchdog: counts missed heartbeats of an arbiter. Intervals in which we did not run
 * ourselves don't count.
 *
 * It looks at regular times. An interval counts only if we looked in time at its end. If
 * the machine was suspended, the cgroup was frozen or the load kept us from running, the
 * arbiter could not report either. Read all pending reports before each look. */
#ifndef DIRTY_SUPERVISOR_WATCHDOG_H
#define DIRTY_SUPERVISOR_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

typedef struct watchdog {
    uint32_t every_ms;   /* interval of the looks and of the arbiter's reports */
    unsigned most;       /* this many silent intervals are too many */
    unsigned counted;    /* silent intervals in a row */
    uint64_t look_at_ns; /* time of the next look; 0: off */
} watchdog;

/* Set the limit in ms; 0: none. The watchdog is off until watchdog_start. */
void watchdog_init(watchdog *w, uint32_t limit_ms);

/* How often the arbiter must report, in ms. 0: it need not. */
uint32_t watchdog_interval_ms(const watchdog *w);

/* Switch on. Counts as a report. */
void watchdog_start(watchdog *w, uint64_t now_ns);

/* The arbiter has reported. */
void watchdog_heard(watchdog *w);

/* Switch off. */
void watchdog_stop(watchdog *w);

/* Look, if it is time. True: the arbiter was silent for too long. */
bool watchdog_check(watchdog *w, uint64_t now_ns);

#endif
