#include "thread_workers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter/child.h"
#include "arbiter/shared_conns.h"
#include "base/guest.h"
#include "base/step.h"
#include "worker/interrupt.h"
#include "worker/lane.h"
#include "worker/pin.h"
#include "worker/worker.h"

/* No process has such an id: they end at 2^22. */
#define FIRST_PID (1 << 28)
#define WORKERS_MAX 4096

typedef struct thread_worker {
    pthread_t thread;
    int channel;
    dirty_lane_page *page;
    dirty_call_counts *counts;
    dirty_worker_start start;
    atomic_bool doomed; /* the arbiter has killed it */
    bool ended;         /* its thread does nothing more; under `lock` */
    int status;         /* as of waitpid */
    bool reaped;
} thread_worker;

/* By process id. Only the arbiter's thread adds some and reaps them. */
static thread_worker *workers[WORKERS_MAX];
static unsigned worker_count;
static atomic_uint killed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Lanes open and close one at a time: the module `ready` has one lane a process. */
static pthread_mutex_t one_lane = PTHREAD_MUTEX_INITIALIZER;

static bool (*test_hook)(const char *step);
static _Thread_local sigjmp_buf *end_of_thread;
static _Thread_local thread_worker *self;

static void on_step(const char *step) {
    if (end_of_thread != NULL && (atomic_load(&self->doomed) || test_hook(step)))
        siglongjmp(*end_of_thread, 1);
}

void thread_workers_open(bool (*hook)(const char *step)) {
    test_hook = hook;
    dirty_step_hook = on_step;
}

unsigned thread_workers_killed(void) {
    return atomic_load(&killed);
}

/* -- A worker ------------------------------------------------------------------------ */

static void on_wake(int number) {
    (void)number;
}

/* What worker/worker.c does once a process. The arbiter handles its signals by then. */
static void set_up_process(void) {
    struct sigaction wake = {.sa_handler = on_wake};
    sigemptyset(&wake.sa_mask);
    sigaction(DIRTY_WAKE_SIGNAL, &wake, NULL);
    dirty_interrupt_handle_signals();
    dirty_guest_begin();
    dirty_pin_open();
}

int __real_kill(pid_t pid, int number);

static void *run(void *arg) {
    thread_worker *w = arg;
    sigjmp_buf end;
    dirty_lane *mine = NULL;
    dirty_lane *volatile opened = NULL;
    volatile int status = SIGKILL;
    self = w;
    pthread_mutex_lock(&one_lane);
    int rc = dirty_lane_open(&mine, &w->start, 0);
    pthread_mutex_unlock(&one_lane);
    opened = rc == 0 ? mine : NULL;
    if (rc == 0 && sigsetjmp(end, 0) == 0) {
        end_of_thread = &end;
        rc = dirty_lane_serve(mine);
        status = rc < 0 ? DIRTY_WORKER_BROKEN << 8 : 0;
    }
    end_of_thread = NULL;
    pthread_mutex_lock(&one_lane);
    if (opened != NULL)
        dirty_lane_close(opened);
    pthread_mutex_unlock(&one_lane);
    pthread_mutex_lock(&lock);
    close(w->channel);
    w->status = status;
    w->ended = true;
    pthread_mutex_unlock(&lock);
    __real_kill(getpid(), SIGCHLD);
    return NULL;
}

static dirty_sharing sharing_of(const worker *w) {
    const shared_conns *s = w->a->shared;
    if (!worker_may_share(w))
        return (dirty_sharing){.board = NULL};
    return (dirty_sharing){.board = s->board,
                           .slot_count = s->max + 1,
                           .epoll = s->epoll,
                           .bell = s->bell,
                           .lane_id = w->lane_id,
                           .arbiter_timeout_ms = 60000};
}

/* Threads do not take signals of the process. */
static int start_thread(thread_worker *w) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int rc = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

pid_t __wrap_child_start(worker *w, const int *channels, const int *outputs);
pid_t __wrap_child_start(worker *w, const int *channels, const int *outputs) {
    const dirty_arbiter_options *o = w->plan->o;
    thread_worker *t = calloc(1, sizeof *t);
    (void)outputs;
    if (t == NULL || worker_count == WORKERS_MAX) {
        free(t);
        errno = EAGAIN;
        return -1;
    }
    if (worker_count == 0)
        set_up_process();
    t->channel = fcntl(channels[0], F_DUPFD_CLOEXEC, 3);
    t->page = w->lanes[0].page;
    t->counts = w->lanes[0].counts;
    t->start = (dirty_worker_start){.number = w->number,
                                    .generation = w->generation,
                                    .lane_count = 1,
                                    .channels = &t->channel,
                                    .pages = &t->page,
                                    .counts = &t->counts,
                                    .sharing = sharing_of(w),
                                    .app_count = w->deal->app_count,
                                    .apps = w->deal->specs,
                                    .limits = o->limits,
                                    .patience_ms = 50,
                                    .lua_path = o->lua_path,
                                    .lua_cpath = o->lua_cpath};
    workers[worker_count] = t;
    if (start_thread(t) != 0) {
        close(t->channel);
        free(t);
        errno = EAGAIN;
        return -1;
    }
    return FIRST_PID + (pid_t)worker_count++;
}

/* -- What the kernel would do ----------------------------------------------------------
 */

/* Returns the worker with this process id, which may be that of a group. NULL: none. */
static thread_worker *find(pid_t pid) {
    pid_t at = (pid < 0 ? -pid : pid) - FIRST_PID;
    return at >= 0 && at < (pid_t)worker_count ? workers[at] : NULL;
}

static bool has_ended(thread_worker *w) {
    pthread_mutex_lock(&lock);
    bool ended = w->ended;
    pthread_mutex_unlock(&lock);
    return ended && !w->reaped;
}

int __real_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options) {
    thread_worker *w = find((pid_t)id);
    if (w == NULL)
        return __real_waitid(type, id, info, options);
    info->si_pid = has_ended(w) ? (pid_t)id : 0;
    return 0;
}

pid_t __real_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options) {
    thread_worker *w = find(pid);
    if (w == NULL)
        return __real_waitpid(pid, status, options);
    if (!has_ended(w))
        return 0;
    pthread_join(w->thread, NULL);
    *status = w->status;
    w->reaped = true;
    return pid;
}

/* Let the worker find its channel closed, or die at its next step. */
static void end(thread_worker *w) {
    pthread_mutex_lock(&lock);
    bool first = !w->ended && !atomic_exchange(&w->doomed, true);
    if (first) {
        atomic_fetch_add(&killed, 1);
        shutdown(w->channel, SHUT_RDWR);
        atomic_fetch_add(&w->page->sent, 1); /* so that it looks */
        pthread_kill(w->thread, DIRTY_WAKE_SIGNAL);
    }
    pthread_mutex_unlock(&lock);
}

int __wrap_kill(pid_t pid, int number);
int __wrap_kill(pid_t pid, int number) {
    thread_worker *w = find(pid);
    if (w == NULL)
        return __real_kill(pid, number);
    if (number == SIGKILL)
        end(w);
    return 0;
}

/* tgkill takes the process that the thread is in. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
    long arguments[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_tgkill && find((pid_t)arguments[0]) != NULL)
        arguments[0] = getpid();
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
                          arguments[4], arguments[5]);
}
