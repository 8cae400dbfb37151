#include "supervisor/watchdog.h"

#include "base/clock.h"

/* The longest interval. The arbiter wakes up this often for us. */
#define EVERY_MS 1000
/* The shortest interval. A process may have to wait this long for a CPU. */
#define EVERY_MS_LEAST 50
/* Minimum number of intervals per limit, so that a single one never decides. */
#define INTERVALS 4

void watchdog_init(watchdog *w, uint32_t limit_ms) {
    uint32_t every_ms = limit_ms / INTERVALS;
    *w = (watchdog){0};
    if (limit_ms == 0)
        return;
    w->every_ms = every_ms > EVERY_MS         ? EVERY_MS
                  : every_ms < EVERY_MS_LEAST ? EVERY_MS_LEAST
                                              : every_ms;
    w->most = limit_ms / w->every_ms + (limit_ms % w->every_ms > 0);
    if (w->most < INTERVALS)
        w->most = INTERVALS;
}

uint32_t watchdog_interval_ms(const watchdog *w) {
    return w->every_ms;
}

static void look_after(watchdog *w, uint64_t now_ns) {
    w->look_at_ns = now_ns + w->every_ms * DIRTY_NS_PER_MS;
}

void watchdog_start(watchdog *w, uint64_t now_ns) {
    if (w->every_ms == 0)
        return;
    w->counted = 0;
    look_after(w, now_ns);
}

void watchdog_heard(watchdog *w) {
    w->counted = 0;
}

void watchdog_stop(watchdog *w) {
    w->look_at_ns = 0;
}

bool watchdog_check(watchdog *w, uint64_t now_ns) {
    if (w->look_at_ns == 0 || now_ns < w->look_at_ns)
        return false;
    if (now_ns - w->look_at_ns < w->every_ms * DIRTY_NS_PER_MS)
        w->counted++; /* we were awake */
    look_after(w, now_ns);
    return w->counted >= w->most;
}
