#include "arbiter/exit_hook.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <utlist.h>

#include "arbiter/child.h"
#include "arbiter/worker.h"
#include "base/clock.h"
#include "base/log.h"

static void go_on(arbiter *a);

static void finish(worker *w) {
    w->hook_due = false;
    arbiter_mark(w->a, MARK_CHANGED);
}

/* End the call because it returned or took too long. */
static void end(worker *w) {
    arbiter *a = w->a;
    w->hook_pid = 0;
    a->exit_hooks.running--;
    uv_timer_stop(&w->timer);
    finish(w);
    go_on(a);
}

/* -- Overdue calls --------------------------------------------------------------- */

static void on_late(uv_timer_t *handle) {
    worker *w = handle->data;
    exit_hooks *all = &w->a->exit_hooks;
    if (kill(-w->hook_pid, SIGKILL) < 0)
        kill(w->hook_pid, SIGKILL);
    dirty_log(DIRTY_LOG_ERROR, "a hook raised an error",
              "hook=worker_exit error=\"killed: it ran for more than %d ms\" worker=%u "
              "worker_pid=%d",
              EXIT_HOOK_MS, w->number, (int)w->pid);
    for (int i = 0; i < EXIT_HOOKS_AT_ONCE; i++)
        if (all->killed[i] == 0) {
            all->killed[i] = w->hook_pid;
            break;
        }
    all->rest_until_ns = dirty_now_ns() + EXIT_HOOK_REST_MS * DIRTY_NS_PER_MS;
    end(w);
}

static bool is_left_out(exit_hooks *all) {
    if (all->rest_until_ns == 0 || dirty_now_ns() < all->rest_until_ns)
        return all->rest_until_ns != 0;
    dirty_log(DIRTY_LOG_WARN, "a hook is no longer skipped", "hook=worker_exit missed=%u",
              all->missed);
    all->rest_until_ns = all->missed = 0;
    return false;
}

static void leave_out(worker *w, const char *reason) {
    w->a->exit_hooks.missed++;
    dirty_log(DIRTY_LOG_WARN, "a hook was skipped",
              "hook=worker_exit worker=%u worker_pid=%d reason=%s", w->number,
              (int)w->pid, DIRTY_LOG_QUOTE(reason));
    finish(w);
}

static void rest(worker *w) {
    char reason[80];
    snprintf(reason, sizeof reason, "a call took more than %d ms less than %d s ago",
             EXIT_HOOK_MS, EXIT_HOOK_REST_MS / 1000);
    leave_out(w, reason);
}

/* -- Calls ----------------------------------------------------------------------- */

static void start(worker *w) {
    arbiter *a = w->a;
    w->hook_pid = child_exit_hook(w);
    if (w->hook_pid < 0) {
        w->hook_pid = 0;
        leave_out(w, strerror(errno));
        return;
    }
    a->exit_hooks.running++;
    uv_timer_start(&w->timer, on_late, EXIT_HOOK_MS, 0);
}

/* Start the calls that are due, at most EXIT_HOOKS_AT_ONCE at a time. */
static void go_on(arbiter *a) {
    worker *w, *next;
    DL_FOREACH_SAFE (a->workers, w, next) {
        if (!w->hook_due || w->hook_pid > 0)
            continue;
        if (a->o->hooks.worker_exit == NULL)
            finish(w);
        else if (is_left_out(&a->exit_hooks))
            rest(w);
        else if (a->exit_hooks.running < EXIT_HOOKS_AT_ONCE)
            start(w);
    }
}

void exit_hook_call(worker *w) {
    w->hook_due = true;
    go_on(w->a);
}

/* Log a call that did not end normally. Errors that the hook raises are logged in its
 * own process. */
static void tell_end(const worker *w, int wait_status) {
    char how[64];
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)
        return;
    if (WIFSIGNALED(wait_status))
        snprintf(how, sizeof how, "killed by signal %d", WTERMSIG(wait_status));
    else
        snprintf(how, sizeof how, "exited with status %d", WEXITSTATUS(wait_status));
    dirty_log(DIRTY_LOG_ERROR, "a hook raised an error",
              "hook=worker_exit error=%s worker=%u worker_pid=%d", DIRTY_LOG_QUOTE(how),
              w->number, (int)w->pid);
}

void exit_hooks_reap(arbiter *a) {
    worker *w, *next;
    int wait_status;
    for (int i = 0; i < EXIT_HOOKS_AT_ONCE; i++)
        if (a->exit_hooks.killed[i] > 0 &&
            waitpid(a->exit_hooks.killed[i], NULL, WNOHANG) != 0)
            a->exit_hooks.killed[i] = 0;
    DL_FOREACH_SAFE (a->workers, w, next)
        if (w->hook_pid > 0 &&
            waitpid(w->hook_pid, &wait_status, WNOHANG) == w->hook_pid) {
            tell_end(w, wait_status);
            end(w);
        }
}
