/* silence: how long an arbiter has said nothing, as far as we were awake to hear it.
 *
 * We look at regular moments. An interval counts only if we looked in time at its end: on
 * a machine that was suspended, in a group that was frozen or under a load that kept us
 * from running, the arbiter could not speak either. What came since the last look is to
 * be read before the next one. */
#ifndef DIRTY_SUPERVISOR_WATCHDOG_H
#define DIRTY_SUPERVISOR_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

typedef struct watchdog {
    uint32_t every_ms;   /* between two looks: the arbiter has to speak as often */
    unsigned most;       /* intervals without a word that are too many */
    unsigned counted;    /* in a row */
    uint64_t look_at_ns; /* 0: we don't listen */
} watchdog;

/* Allow so many ms of silence; 0: any. We don't listen yet. */
void watchdog_init(watchdog *s, uint32_t limit_ms);

/* How often the arbiter has to speak, 0: it need not. */
uint32_t watchdog_interval_ms(const watchdog *s);

/* Listen from now on; it has just spoken. */
void watchdog_start(watchdog *s, uint64_t now_ns);

/* It has spoken. */
void watchdog_heard(watchdog *s);

/* Listen no more. */
void watchdog_stop(watchdog *s);

/* Look, if the moment has come. True: it has been silent for too long. */
bool watchdog_check(watchdog *s, uint64_t now_ns);

#endif
