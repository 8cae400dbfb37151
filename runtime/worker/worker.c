#include "worker/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/guest.h"
#include "base/log.h"
#include "worker/interrupt.h"
#include "worker/lane.h"
#include "worker/pin.h"

/* The lanes of a worker wait here for each other. None serves before all have booted and
 * the hook has run. */
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t booted;
    bool failed, open;
} gate;

typedef struct lane_thread {
    const dirty_worker_start *start;
    gate *gate;
    uint32_t index;
    pthread_t thread;
    int rc; /* of dirty_lane_serve */
} lane_thread;

/* -- Process ----------------------------------------------------------------------- */

static void reopen_log(int signal_number) {
    (void)signal_number;
    int saved = errno;
    dirty_pin_reopen_log();
    errno = saved;
}

static void on_wake(int signal_number) {
    (void)signal_number;
}

/* Ignore the terminal's signals, which the supervisor handles. SIGTERM and the fatal ones
 * keep their default action. */
static void set_signals(void) {
    static const int ignored[] = {SIGINT,  SIGHUP,  SIGQUIT, SIGTSTP, SIGTTIN,
                                  SIGTTOU, SIGPIPE, SIGUSR2, SIGWINCH};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    struct sigaction reopen = {.sa_handler = reopen_log, .sa_flags = SA_RESTART};
    sigemptyset(&reopen.sa_mask);
    sigaction(SIGUSR1, &reopen, NULL);
    struct sigaction wake = {.sa_handler = on_wake}; /* must end epoll_pwait */
    sigemptyset(&wake.sa_mask);
    sigaction(DIRTY_WAKE_SIGNAL, &wake, NULL);
    dirty_interrupt_handle_signals();
    dirty_pin_open();
}

/* Ask to be killed when the arbiter dies. Returns 0, or -ESRCH if it died before. */
static int tie_to_arbiter(pid_t arbiter_pid) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return getppid() == arbiter_pid ? 0 : -ESRCH;
}

static void set_up(const dirty_worker_start *start) {
    char who[32];
    snprintf(who, sizeof who, "worker:%u", start->number);
    dirty_log_who(who);
    dirty_log_echo(false); /* it outlives the start of the runtime, whose log is echoed */
    dirty_guest_begin();
    set_signals();
    setvbuf(stdout, NULL, _IOLBF, 0); /* show at once what an app prints */
}

static void run_hook(const dirty_worker_start *start) {
    if (start->worker_init != NULL)
        start->worker_init(start->hook_ctx, start);
    dirty_guest_end("worker_init");
}

/* Terminate the processes that apps have started, as io.popen does. Closing the Lua state
 * waits for those that apps still hold, so they must end first. With several lanes they
 * may belong to a running call; then the arbiter kills the process group in the end. */
static void end_children(void) {
    if (getpgrp() != getpid())
        return;
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
}

/* -- One lane ---------------------------------------------------------------------- */

static int run_single(const dirty_worker_start *start) {
    dirty_lane *lane;
    if (dirty_lane_open(&lane, start, 0) < 0)
        return DIRTY_WORKER_BOOT_FAILED;
    run_hook(start);
    int rc = dirty_lane_serve(lane);
    dirty_lane_close_apps(lane);
    end_children();
    dirty_lane_close(lane);
    return rc < 0 ? DIRTY_WORKER_BROKEN : DIRTY_WORKER_STOPPED;
}

/* -- Several lanes ----------------------------------------------------------------- */

static void report_boot(gate *g, bool good) {
    pthread_mutex_lock(&g->lock);
    if (good)
        g->booted++;
    else
        g->failed = true;
    pthread_cond_broadcast(&g->changed);
    while (good && !g->open)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void *run_lane(void *arg) {
    lane_thread *t = arg;
    dirty_lane *lane;
    if (dirty_lane_open(&lane, t->start, t->index) < 0) {
        report_boot(t->gate, false);
        return NULL;
    }
    report_boot(t->gate, true);
    t->rc = dirty_lane_serve(lane);
    dirty_lane_close(lane);
    return NULL;
}

/* Wait for the lanes to boot. True: all have booted; false: one has failed. If one hangs,
 * the arbiter's boot_timeout ends the worker. */
static bool wait_booted(gate *g, uint32_t count) {
    pthread_mutex_lock(&g->lock);
    while (g->booted < count && !g->failed)
        pthread_cond_wait(&g->changed, &g->lock);
    bool good = !g->failed;
    pthread_mutex_unlock(&g->lock);
    return good;
}

static void open_gate(gate *g) {
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

/* Exit at once. Lanes still run in their Lua states, so no clean-up may touch them. */
static _Noreturn void end_now(int status) {
    fflush(stdout);
    _exit(status);
}

static int run_many(const dirty_worker_start *start) {
    gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    lane_thread *threads = calloc(start->lane_count, sizeof *threads);
    if (threads == NULL)
        return DIRTY_WORKER_BROKEN;
    for (uint32_t i = 0; i < start->lane_count; i++) {
        threads[i] = (lane_thread){.start = start, .gate = &g, .index = i};
        int rc = pthread_create(&threads[i].thread, NULL, run_lane, &threads[i]);
        if (rc != 0) {
            dirty_log(DIRTY_LOG_ERROR, "can't start the thread of a lane",
                      "lane=%u error=%s", i + 1, DIRTY_LOG_QUOTE(strerror(rc)));
            end_now(DIRTY_WORKER_BROKEN);
        }
    }
    if (!wait_booted(&g, start->lane_count))
        end_now(DIRTY_WORKER_BOOT_FAILED);
    run_hook(start);
    open_gate(&g);
    int status = DIRTY_WORKER_STOPPED;
    for (uint32_t i = 0; i < start->lane_count; i++) {
        pthread_join(threads[i].thread, NULL);
        if (threads[i].rc < 0)
            status = DIRTY_WORKER_BROKEN;
    }
    free(threads);
    return status;
}

int dirty_worker_main(const dirty_worker_start *start) {
    set_up(start);
    if (tie_to_arbiter(start->arbiter_pid) < 0)
        return DIRTY_WORKER_ORPHANED;
    return start->lane_count == 1 ? run_single(start) : run_many(start);
}
