#include "supervisor/watchdog.h"

#include "base/clock.h"

/* The longest interval: as often the arbiter wakes up for us. */
#define EVERY_MS 1000
/* The shortest, for limits that are shorter than a process may have to wait for a CPU. */
#define EVERY_MS_LEAST 50
/* A limit has so many intervals at least, so that no single one decides. */
#define INTERVALS 4

void watchdog_init(watchdog *s, uint32_t limit_ms) {
    uint32_t every_ms = limit_ms / INTERVALS;
    *s = (watchdog){0};
    if (limit_ms == 0)
        return;
    s->every_ms = every_ms > EVERY_MS         ? EVERY_MS
                  : every_ms < EVERY_MS_LEAST ? EVERY_MS_LEAST
                                              : every_ms;
    s->most = limit_ms / s->every_ms + (limit_ms % s->every_ms > 0);
    if (s->most < INTERVALS)
        s->most = INTERVALS;
}

uint32_t watchdog_interval_ms(const watchdog *s) {
    return s->every_ms;
}

static void look_after(watchdog *s, uint64_t now_ns) {
    s->look_at_ns = now_ns + s->every_ms * DIRTY_NS_PER_MS;
}

void watchdog_start(watchdog *s, uint64_t now_ns) {
    if (s->every_ms == 0)
        return;
    s->counted = 0;
    look_after(s, now_ns);
}

void watchdog_heard(watchdog *s) {
    s->counted = 0;
}

void watchdog_stop(watchdog *s) {
    s->look_at_ns = 0;
}

bool watchdog_check(watchdog *s, uint64_t now_ns) {
    if (s->look_at_ns == 0 || now_ns < s->look_at_ns)
        return false;
    if (now_ns - s->look_at_ns < s->every_ms * DIRTY_NS_PER_MS)
        s->counted++; /* we were awake */
    look_after(s, now_ns);
    return s->counted >= s->most;
}
