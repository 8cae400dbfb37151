#include "worker/pin.h"

#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/log.h"
#include "worker/interrupt.h"

/* A signal that the runtime uses in workers, and its action. */
typedef struct pinned {
    int number;
    const char *name;
    struct sigaction action; /* at the time of dirty_pin_open */
    atomic_bool told;        /* a change of it was logged */
} pinned;

/* The signals of this process, set before threads start. SIGPROF is not among them,
 * because it belongs to LuaJIT: stopping LuaJIT's profiler removes it for good. */
static pinned signals[] = {{.number = DIRTY_INTERRUPT_SIGNAL, .name = "SIGURG"},
                           {.number = SIGUSR1, .name = "SIGUSR1"},
                           {.number = SIGPIPE, .name = "SIGPIPE"},
                           {.number = SIGXFSZ, .name = "SIGXFSZ"},
                           {.number = 0, .name = "SIGRTMIN+6"}};
static mode_t file_mask;
static bool is_open;

void dirty_pin_thread(void) {
    static _Atomic(locale_t) ours; /* made once, shared by all threads, never freed */
    locale_t c = atomic_load_explicit(&ours, memory_order_relaxed);
    if (c == (locale_t)0) {
        c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        atomic_store_explicit(&ours, c, memory_order_relaxed);
    }
    uselocale(c);
    fesetmode(FE_DFL_MODE);
}

static void block_wake(void) {
    sigset_t wake;
    sigemptyset(&wake);
    sigaddset(&wake, DIRTY_WAKE_SIGNAL);
    pthread_sigmask(SIG_BLOCK, &wake, NULL);
}

void dirty_pin_open(void) {
    signals[sizeof signals / sizeof *signals - 1].number = DIRTY_WAKE_SIGNAL;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i].number, NULL, &signals[i].action);
    block_wake();
    file_mask = umask(0);
    umask(file_mask);
    is_open = true;
}

static void unblock(void) {
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, DIRTY_INTERRUPT_SIGNAL);
    sigaddset(&ours, SIGPROF);
    sigaddset(&ours, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
}

static void give_back(pinned *p, const char *app) {
    struct sigaction now;
    sigaction(p->number, NULL, &now);
    if (now.sa_handler == p->action.sa_handler)
        return;
    sigaction(p->number, &p->action, NULL);
    if (!atomic_exchange(&p->told, true))
        dirty_log(DIRTY_LOG_WARN,
                  "an app changed the action of a signal of the runtime: restoring it",
                  "signal=%s after=%s", p->name, DIRTY_LOG_QUOTE(app));
}

void dirty_pin_signals(const char *app) {
    if (!is_open)
        return;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        give_back(&signals[i], app);
    unblock();
    block_wake();
}

void dirty_pin_reopen_log(void) {
    mode_t of_apps = umask(file_mask);
    dirty_log_reopen();
    umask(of_apps);
}
