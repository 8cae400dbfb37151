#include "worker/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/clock.h"
#include "base/descriptors.h"
#include "base/loaded.h"
#include "base/log.h"
#include "base/oom.h"
#include "base/write_all.h"
#include "worker/lua_host.h"
#include "worker/printed.h"

/* The child sends this line when a step is done and the next begins. */
#define STEP_MARK '+'

/* The steps of a try, in order. Without `boot` only "load" is tried. */
/* The parent is gone, or the pipe fails: nobody would hear the rest. */
static void put(int fd, const void *bytes, size_t len) {
    if (dirty_write_all(fd, bytes, len) < 0)
        _exit(1);
}

static const char *const steps[] = {"load", "init", "close"};
enum { STEPS = sizeof steps / sizeof *steps };

/* -- In the child ------------------------------------------------------------------ */

static void begin_line(dirty_buf *line, const char *app) {
    dirty_buf_append_cstr(line, "{\"app\":");
    dirty_buf_json_string(line, app, strlen(app));
}

static void end_line(dirty_buf *line, uint64_t began_ns) {
    dirty_buf_printf(line, ",\"ms\":%.3f}\n",
                     (double)(dirty_now_ns() - began_ns) / DIRTY_NS_PER_MS);
}

static void try_app(dirty_host *host, const dirty_probe *probe, uint32_t app, int fd) {
    uint64_t began = dirty_now_ns();
    dirty_buf line = {0}, report = {0};
    int rc = dirty_host_try(host, app, steps[0], &report);
    for (unsigned i = 1; rc == 0 && probe->boot && i < STEPS; i++) {
        put(fd, (char[]){STEP_MARK, '\n'}, 2);
        report.len = 0;
        rc = dirty_host_try(host, app, steps[i], &report);
    }
    begin_line(&line, probe->start->apps[app]->name);
    dirty_buf_append_cstr(&line, ",");
    dirty_buf_append(&line, report.base, report.len);
    end_line(&line, began);
    if (!dirty_buf_failed(&line) && !dirty_buf_failed(&report))
        put(fd, line.base, line.len);
    dirty_buf_deinit(&report);
    dirty_buf_deinit(&line);
}

/* Report every app as failed, because the runtime's own modules can't be loaded. */
static void fail_all(const dirty_probe *probe, uint32_t first, const dirty_buf *why,
                     int fd) {
    for (uint32_t i = first; i < probe->start->app_count; i++) {
        dirty_buf line = {0};
        begin_line(&line, probe->start->apps[i]->name);
        dirty_buf_append_cstr(&line, ",\"ok\":false,\"phase\":\"load\",\"message\":");
        dirty_buf_json_string(&line, (const char *)why->base, why->len);
        end_line(&line, dirty_now_ns());
        put(fd, line.base, line.len);
        dirty_buf_deinit(&line);
    }
}

static _Noreturn void run_child(const dirty_probe *probe, uint32_t first, int fd,
                                dirty_printed *printed, pid_t parent) {
    setsid(); /* no controlling terminal: an app must not act on the operator's */
    dirty_proc_mark();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || dirty_printed_enter(printed) < 0)
        _exit(1);
    int keep[] = {fd, dirty_log_fd(), dirty_loaded_end()};
    /* apps must not have the arbiter's descriptors */
    dirty_descriptors_close_but(keep, 3);
    dirty_host *host;
    dirty_buf why = {0};
    if (dirty_host_open(&host, probe->start, &why) < 0) {
        fail_all(probe, first, &why, fd);
        _exit(1);
    }
    for (uint32_t i = first; i < probe->start->app_count; i++)
        try_app(host, probe, i, fd);
    fflush(stdout);
    _exit(0);
}

/* -- In the parent ----------------------------------------------------------------- */

/* One child and what it has sent. */
typedef struct trial {
    const dirty_probe *probe;
    dirty_buf *out;
    uint32_t next; /* index of the app whose line comes next */
    unsigned step; /* its current step, an index of `steps` */
    bool late;     /* it took too long */
    pid_t pid;
    int fd;
    uint64_t began_ns;
    dirty_oom oom;
    dirty_buf text; /* owned: bytes read that are not a whole line yet */
    dirty_printed printed;
} trial;

static int start_child(trial *t) {
    int ends[2] = {-1, -1};
    int rc = dirty_printed_open(&t->printed);
    if (rc == 0 && pipe2(ends, O_CLOEXEC) < 0)
        rc = -errno;
    if (rc < 0) {
        dirty_printed_close(&t->printed);
        return rc;
    }
    fflush(NULL); /* else the child writes our buffered output again */
    pid_t parent = getpid();
    t->pid = fork();
    if (t->pid == 0) {
        close(ends[0]);
        run_child(t->probe, t->next, ends[1], &t->printed, parent);
    }
    rc = t->pid < 0 ? -errno : 0;
    dirty_printed_begin(&t->printed);
    close(ends[1]);
    if (rc < 0) {
        close(ends[0]);
        dirty_printed_close(&t->printed);
    }
    t->fd = ends[0];
    t->began_ns = dirty_now_ns();
    return rc;
}

/* Take the complete lines out of t->text. */
static void take_lines(trial *t) {
    uint8_t *end;
    while (t->text.len > 0 && (end = memchr(t->text.base, '\n', t->text.len)) != NULL) {
        size_t len = (size_t)(end - t->text.base) + 1;
        if (t->text.base[0] == STEP_MARK) {
            t->step += t->step + 1 < STEPS;
        } else {
            dirty_buf_append(t->out, t->text.base, len);
            t->next++;
            t->step = 0;
            t->began_ns = dirty_now_ns();
        }
        dirty_buf_consume(&t->text, len);
    }
}

static bool is_complete(const trial *t) {
    return t->next >= t->probe->start->app_count;
}

/* Wait until the child sends something. Returns 1; 0 when its app's time is up; or
 * -errno. Passes on what the app prints, which does not give it more time. */
static int wait_for_line(trial *t) {
    uint32_t timeout_ms = t->probe->timeout_ms;
    uint64_t deadline = timeout_ms ? t->began_ns + timeout_ms * DIRTY_NS_PER_MS : 0;
    for (;;) {
        struct pollfd p[] = {{.fd = t->fd, .events = POLLIN},
                             {.fd = t->printed.fd, .events = POLLIN}};
        int left_ms = dirty_ms_until(deadline, dirty_now_ns());
        int n = poll(p, 2, left_ms);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && p[1].revents != 0)
            dirty_printed_pass(&t->printed);
        if (n > 0 && p[0].revents != 0)
            return 1;
        if (n == 0 || left_ms == 0)
            return 0;
    }
}

/* Read what the child sends until it has sent all, ends, or is late. */
static int listen_to(trial *t) {
    while (!is_complete(t)) {
        int rc = wait_for_line(t);
        if (rc < 0)
            return rc;
        if (rc == 0) {
            t->late = true;
            return 0;
        }
        if (dirty_buf_reserve(&t->text, 4096) < 0)
            return -ENOMEM;
        ssize_t got = read(t->fd, t->text.base + t->text.len, 4096);
        if (got == 0)
            return 0;
        if (got > 0)
            t->text.len += (size_t)got;
        else if (errno != EINTR)
            return -errno;
        take_lines(t);
    }
    return 0;
}

static bool wait_exited(pid_t pid, int *status, int wait_ms) {
    uint64_t deadline = dirty_now_ns() + (uint64_t)wait_ms * DIRTY_NS_PER_MS;
    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR))
            return true;
        if (dirty_now_ns() >= deadline)
            return false;
        poll(NULL, 0, 1);
    }
}

/* Kill the child and all that it has started. Returns its wait status. */
static int end_child(trial *t) {
    int status = 0;
    close(t->fd);
    bool exited = !t->late && wait_exited(t->pid, &status, 1000);
    kill(-t->pid, SIGKILL);
    if (!exited) {
        kill(t->pid, SIGKILL);
        wait_exited(t->pid, &status,
                    1000); /* if it still runs, our parent process reaps it */
    }
    dirty_printed_close(&t->printed);
    return status;
}

/* Append the line of the app that ended the child. */
static void report_loss(trial *t, int status) {
    char why[256];
    if (t->late)
        snprintf(why, sizeof why, "it took longer than %g s",
                 t->probe->timeout_ms / 1000.0);
    else if (WIFSIGNALED(status))
        snprintf(why, sizeof why, "it ended the process by signal %d (%s)%s",
                 WTERMSIG(status), strsignal(WTERMSIG(status)),
                 WTERMSIG(status) == SIGKILL && dirty_oom_take(&t->oom)
                     ? ", likely from the OOM killer"
                     : "");
    else
        snprintf(why, sizeof why, "it ended the process with status %d",
                 WEXITSTATUS(status));
    dirty_buf line = {0};
    begin_line(&line, t->probe->start->apps[t->next]->name);
    dirty_buf_printf(&line,
                     ",\"ok\":false,\"phase\":\"%s\",\"message\":", steps[t->step]);
    dirty_buf_json_string(&line, why, strlen(why));
    end_line(&line, t->began_ns);
    dirty_buf_append(t->out, line.base, line.len);
    dirty_buf_deinit(&line);
}

int dirty_probe_run(const dirty_probe *probe, dirty_buf *out) {
    trial t = {.probe = probe, .out = out};
    int rc = 0;
    dirty_oom_open(&t.oom, "", dirty_now_ns());
    while (rc == 0 && !is_complete(&t)) {
        t.text.len = 0;
        t.late = false;
        t.step = 0;
        rc = start_child(&t);
        if (rc < 0)
            break;
        rc = listen_to(&t);
        int status = end_child(&t);
        if (rc == 0 && !is_complete(&t)) {
            report_loss(&t, status);
            t.next++;
        }
    }
    dirty_buf_deinit(&t.text);
    return rc == 0 && dirty_buf_failed(out) ? -ENOMEM : rc;
}
