#include "arbiter/child.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <utlist.h>

#include "arbiter/shared_conns.h"
#include "base/proc.h"
#include "base/descriptors.h"
#include "base/loaded.h"
#include "base/log.h"
#include "base/title.h"

/* Limit of a lane's wait for bytes of a request; shorter if other requests wait for a
 * lane. A running sender refills the socket within microseconds. Waiting for a slow
 * sender costs less in the arbiter (upload.h). */
#define PATIENCE_MS 50

/* The arbiter is taken for hung after this time if there is no supervisor to decide. */
#define ARBITER_TIMEOUT_MS 10000

static void reset_signals(void) {
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    for (int s = 1; s < NSIG; s++)
        sigaction(s, &dfl, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Make the pipes stdout and stderr, if there are any. The log keeps its destination. */
static void take_outputs(const int *outputs) {
    dirty_log_keep();
    for (int i = 0; i < 2; i++)
        if (outputs[i] >= 0)
            dup2(outputs[i], STDOUT_FILENO + i);
    setvbuf(stdout, NULL, _IOLBF, 0); /* a line is logged as soon as it is printed */
}

/* Make libuv drop its process-wide state. After every fork libuv closes and reopens a
 * pipe by descriptor number. In a child these numbers may belong to files that the
 * child, or an app that forks, has opened. No signals can be watched after this. An app
 * that uses libuv has its own copy: ours is linked in (see the Makefile). */
static void leave_libuv(void) {
    uv_library_shutdown();
}

/* Close every descriptor except stdio, the log, the channels and what a lane needs to
 * serve shared connections. */
static void close_foreign(const int *channels, uint32_t count,
                          const dirty_sharing *sharing) {
    int keep[DIRTY_THREADS_MAX + 4];
    assert(count <= DIRTY_THREADS_MAX);
    for (uint32_t i = 0; i < count; i++)
        keep[i] = channels[i];
    keep[count] = dirty_log_fd();
    keep[count + 1] = sharing->board != NULL ? sharing->epoll : -1;
    keep[count + 2] = sharing->board != NULL ? sharing->bell : -1;
    keep[count + 3] = dirty_loaded_end();
    dirty_descriptors_close_but(keep, count + 4);
}

/* Close all descriptors with FD_CLOEXEC: all of ours. Files that the configuration's
 * Lua has opened stay open, as a hook may use them. */
static void close_on_exec(void) {
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    if (dir == NULL) {
        close_foreign(NULL, 0, &(dirty_sharing){.board = NULL});
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        int flags =
            fd > 2 && fd != dirfd(dir) && fd != dirty_log_fd() ? fcntl(fd, F_GETFD) : 0;
        if (flags > 0 && (flags & FD_CLOEXEC) != 0)
            close(fd);
    }
    closedir(dir);
}

/* Unmap the batons and counters of other workers, and the board if this process serves no
 * shared connections: an app must be able to damage only its own. */
static void unmap_others(const arbiter *a, const worker *own) {
    const worker *w;
    if (a->shared != NULL && (own == NULL || !worker_may_share(own)))
        dirty_board_close(a->shared->board, a->shared->max + 1);
    DL_FOREACH (a->workers, w) {
        for (uint32_t k = 0; w != own && k < w->lane_count; k++)
            if (w->lanes[k].page != NULL)
                munmap(w->lanes[k].page, sizeof *w->lanes[k].page);
        for (uint32_t k = 0; w != own && k < w->lane_count; k++)
            dirty_call_counts_close(w->lanes[k].counts, w->deal->app_count);
    }
}

/* Make the OOM killer choose a worker, not the arbiter or the server. */
static void prefer_for_oom(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "500", 3) < 0)
        dirty_log_msg(DIRTY_LOG_DEBUG, "oom_score_adj can't be raised");
    close(fd);
}

static dirty_sharing sharing_of(const worker *w) {
    const arbiter *a = w->a;
    uint32_t ms = a->boot->arbiter_timeout_ms;
    if (!worker_may_share(w))
        return (dirty_sharing){.board = NULL};
    return (dirty_sharing){.board = a->shared->board,
                           .slot_count = a->shared->max + 1,
                           .epoll = a->shared->epoll,
                           .bell = a->shared->bell,
                           .lane_id = w->lane_id,
                           .arbiter_timeout_ms = ms > 0 ? ms : ARBITER_TIMEOUT_MS};
}

static bool is_gone(void) {
    char path[PATH_MAX];
    return getcwd(path, sizeof path) == NULL && errno == ENOENT;
}

/* Change to the working directory of these options. The arbiter stays where it was
 * started. A removed directory is looked up by its name: a symlink may point to another
 * one by now. */
static void enter_directory(const arbiter *a, const dirty_arbiter_options *o) {
    const char *path = o->directory, *start = a->boot->directory;
    bool is_here = path == NULL || (start != NULL && strcmp(path, start) == 0);
    if ((is_here && !is_gone()) || (path != NULL && chdir(path) == 0))
        return;
    const char *why = strerror(errno);
    bool named = o->directory_name != NULL && chdir(o->directory_name) == 0;
    dirty_log(
        DIRTY_LOG_WARN,
        named ? "the working directory was removed: using the one that has its name now"
              : "the working directory can't be entered",
        "directory=%s name=%s reason=%s", DIRTY_LOG_QUOTE(path ? path : ""),
        DIRTY_LOG_QUOTE(o->directory_name ? o->directory_name : ""),
        DIRTY_LOG_QUOTE(why));
}

static void set_title(uint32_t number, const deal *d) {
    char title[DIRTY_TITLE_MAX], who[32];
    size_t at = (size_t)snprintf(title, sizeof title, "dirty: worker %u [", number);
    for (uint32_t i = 0; i < d->app_count && at < sizeof title; i++)
        at += (size_t)snprintf(title + at, sizeof title - at, "%s%s", i ? " " : "",
                               d->specs[i]->name);
    if (at < sizeof title)
        snprintf(title + at, sizeof title - at, "]");
    dirty_title_set(title);
    snprintf(who, sizeof who, "worker:%u", number);
    dirty_log_who(who);
}

static _Noreturn void run_worker(worker *w, const int *channels, const int *outputs) {
    const dirty_arbiter_options *o = w->plan->o;
    pid_t arbiter_pid = w->a->pid; /* known before the fork */
    w->pid = getpid();
    dirty_proc_mark();
    unmap_others(w->a, w);
    take_outputs(outputs);
    set_title(w->number, w->deal);
    leave_libuv();
    dirty_sharing sharing = sharing_of(w);
    close_foreign(channels, w->lane_count, &sharing);
    prefer_for_oom();
    enter_directory(w->a, o);
    dirty_log_set_level_name(o->log_level);

    dirty_lane_page *pages[DIRTY_THREADS_MAX];
    dirty_call_counts *counts[DIRTY_THREADS_MAX];
    for (uint32_t i = 0; i < w->lane_count; i++) {
        pages[i] = w->lanes[i].page;
        counts[i] = w->lanes[i].counts;
    }
    dirty_worker_start start = {
        .number = w->number,
        .generation = w->generation,
        .arbiter_pid = arbiter_pid,
        .lane_count = w->lane_count,
        .channels = channels,
        .pages = pages,
        .counts = counts,
        .sharing = sharing,
        .slow_log_threshold_ms = o->slow_log_threshold_ms,
        .log_failures = w->a->boot->dev,
        .access_log = o->access_log,
        .app_count = w->deal->app_count,
        .apps = w->deal->specs,
        .limits = o->limits,
        .max_memory_bytes = o->max_memory_bytes,
        .patience_ms = PATIENCE_MS,
        .lua_path = o->lua_path,
        .lua_cpath = o->lua_cpath,
        .hook_ctx = o->hooks.ctx,
        .worker_init = o->hooks.worker_init,
    };
    if (o->hooks.post_fork != NULL) {
        dirty_worker_info info = {w->number, w->generation, w->pid, w->deal->app_count,
                                  w->deal->specs};
        o->hooks.post_fork(o->hooks.ctx, &info);
    }
    int status = o->worker_main(&start);
    fflush(NULL); /* flush what an app has written by stdio */
    _exit(status);
}

/* Fork a child that leads a process group and has default signals. Signals are blocked
 * until then: otherwise the arbiter's handlers would take the child's signals for their
 * own. */
static pid_t fork_plain(void) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        reset_signals();
        return 0;
    }
    int saved = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid > 0)
        setpgid(pid, pid);
    errno = saved;
    return pid;
}

pid_t child_start(worker *w, const int *channels, const int *outputs) {
    pid_t pid = fork_plain();
    if (pid == 0)
        run_worker(w, channels, outputs);
    return pid;
}

/* -- Other children -------------------------------------------------------------- */

static void become(arbiter *a, const char *title, const char *who) {
    unmap_others(a, NULL);
    take_outputs(a->output_ends);
    dirty_title_set(title);
    dirty_log_who(who);
    leave_libuv();
}

pid_t child_probe(arbiter *a, bool same, int report_fd) {
    pid_t pid = fork_plain();
    if (pid != 0)
        return pid;
    dirty_proc_mark();
    become(a, "dirty: probe", "probe");
    enter_directory(a, a->o);
    close_foreign(&report_fd, 1, &(dirty_sharing){.board = NULL});
    _exit(a->boot->source.probe(a->boot->source.ctx, same, report_fd));
}

/* Run the hook. Don't call dirty_proc_mark: processes that the hook starts may outlive
 * it. */
static _Noreturn void run_exit_hook(const worker *w, pid_t arbiter_pid) {
    const dirty_hooks *hooks = &w->a->o->hooks;
    dirty_worker_info info = {w->number, w->generation, w->pid, w->deal->app_count,
                              w->deal->specs};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != arbiter_pid)
        _exit(1);
    become(w->a, "dirty: hook", "hook");
    enter_directory(w->a, w->a->o);
    close_on_exec();
    prefer_for_oom();
    hooks->worker_exit(hooks->ctx, &info, w->wait_status);
    fflush(NULL);
    _exit(0);
}

pid_t child_exit_hook(worker *w) {
    pid_t pid = fork_plain();
    if (pid == 0)
        run_exit_hook(w, w->a->pid);
    return pid;
}
