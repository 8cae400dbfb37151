#include "arbiter/notify.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "arbiter/listener.h"
#include "base/clock.h"
#include "base/log.h"

static void on_time(uv_timer_t *handle) {
    notify_tell(handle->data, DIRTY_REPORT_ALIVE, "%s", "");
}

/* -- Reports from the supervisor ------------------------------------------------- */

/* Replace the file's descriptor under its old number, which is stored in the
 * options. */
static void take_socket(arbiter *a, int *passed) {
    listener_switch(a, passed[0]);
    listener_set_backlog(a, a->o->backlog);
    if (a->boot->socket_fd > 0)
        dup3(passed[1], a->boot->socket_fd, O_CLOEXEC);
    a->heard.socket_binds++;
    passed[0] = -1;
}

static void hear_socket(arbiter *a, const dirty_report *r, int *passed) {
    if (r->within_ms > 0 && (passed[0] < 0 || passed[1] < 0))
        return; /* no descriptors were free: the supervisor sends it again */
    snprintf(a->heard.socket, sizeof a->heard.socket, "%.*s",
             (int)sizeof a->heard.socket - 1, r->text);
    if (r->within_ms > 0)
        take_socket(a, passed);
    notify_tell(a, DIRTY_REPORT_LISTENS, "%s", "");
}

static void hear_log(arbiter *a, const dirty_report *r) {
    a->heard.log_opens++;
    snprintf(a->heard.log, sizeof a->heard.log, "%.*s", (int)sizeof a->heard.log - 1,
             r->text);
}

static void hear_upgrades(arbiter *a, const dirty_report *r) {
    arbiter_heard *h = &a->heard;
    h->upgrades = (dirty_upgrades)(r->within_ms % DIRTY_UPGRADES_NUMBER);
    h->upgrade_number = r->within_ms / DIRTY_UPGRADES_NUMBER;
    snprintf(h->upgrade_json, sizeof h->upgrade_json, "%s", r->text);
}

/* Handle reports. When the supervisor ends, the subreaper ends this process. */
static void on_report(uv_poll_t *handle, int status, int events) {
    arbiter *a = handle->data;
    dirty_report r;
    int passed[DIRTY_REPORT_PASSED], rc = -1;
    (void)events;
    while (status == 0 &&
           (rc = dirty_report_take_with(a->boot->report_fd, &r, passed)) > 0) {
        if (r.kind == DIRTY_REPORT_SOCKET)
            hear_socket(a, &r, passed);
        else if (r.kind == DIRTY_REPORT_LOG)
            hear_log(a, &r);
        else if (r.kind == DIRTY_REPORT_UPGRADES)
            hear_upgrades(a, &r);
        else if (r.kind == DIRTY_REPORT_ACCEPT || r.kind == DIRTY_REPORT_DEPART)
            a->on_order(a, (dirty_report_kind)r.kind);
        for (int i = 0; i < DIRTY_REPORT_PASSED; i++)
            if (passed[i] >= 0)
                close(passed[i]);
    }
    if (rc < 0)
        uv_poll_stop(handle);
}

static void listen_to_supervisor(arbiter *a) {
    if (uv_poll_init(&a->loop, &a->notify_poll, a->boot->report_fd) < 0)
        return;
    a->notify_poll.data = a;
    uv_poll_start(&a->notify_poll, UV_READABLE, on_report);
    uv_unref((uv_handle_t *)&a->notify_poll);
}

/* -- Reports to the supervisor --------------------------------------------------- */

static void tell_within(const arbiter *a, dirty_report_kind kind, uint32_t within_ms) {
    dirty_report r = {.kind = kind, .within_ms = within_ms};
    if (a->boot->report_fd > 0)
        dirty_report_send(a->boot->report_fd, &r);
}

void notify_open(arbiter *a) {
    uint32_t every_ms = a->boot->report_ms;
    uv_timer_init(&a->loop, &a->notify_timer);
    a->notify_timer.data = a;
    if (a->boot->report_fd > 0 && every_ms > 0) {
        uv_timer_start(&a->notify_timer, on_time, every_ms, every_ms);
        uv_unref((uv_handle_t *)&a->notify_timer);
    }
    if (a->boot->report_fd > 0)
        listen_to_supervisor(a);
    tell_within(a, DIRTY_REPORT_STARTED, a->o->boot_timeout_ms);
}

int notify_upgrade(arbiter *a, uint32_t within_ms) {
    dirty_report r = {.kind = DIRTY_REPORT_UPGRADE, .within_ms = within_ms};
    return dirty_report_send(a->boot->report_fd, &r);
}

void notify_tell(arbiter *a, dirty_report_kind kind, const char *format, ...) {
    dirty_report r = {.kind = kind};
    va_list args;
    if (a->boot->report_fd <= 0)
        return;
    va_start(args, format);
    vsnprintf(r.text, sizeof r.text, format, args);
    va_end(args);
    dirty_report_send(a->boot->report_fd, &r);
}

void notify_ready(arbiter *a) {
    char text[512];
    snprintf(text, sizeof text, "socket=%s workers=%u threads=%u apps=%u boot_ms=%llu",
             a->boot->socket_path, a->o->workers, a->o->threads, a->o->app_count,
             (unsigned long long)((dirty_now_ns() - a->started_ns) / DIRTY_NS_PER_MS));
    dirty_log_echo(false);
    if (a->boot->report_fd > 0)
        notify_tell(a, DIRTY_REPORT_READY, "%s", text);
    else
        dirty_log(DIRTY_LOG_INFO, "ready", "%s", text);
}

void notify_stopping(arbiter *a) {
    /* once for running calls, once for workers that close their apps */
    uint64_t within_ms = 2 * (uint64_t)a->o->graceful_timeout_ms;
    tell_within(a, DIRTY_REPORT_STOPPING,
                within_ms < UINT32_MAX ? (uint32_t)within_ms : UINT32_MAX);
}

static void close_handle(uv_handle_t *handle) {
    if (handle->data != NULL && !uv_is_closing(handle))
        uv_close(handle, NULL);
}

void notify_close(arbiter *a) {
    close_handle((uv_handle_t *)&a->notify_timer);
    close_handle((uv_handle_t *)&a->notify_poll);
}
