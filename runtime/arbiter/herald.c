#include "arbiter/herald.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

static void on_time(uv_timer_t *handle) {
    herald_tell(handle->data, DIRTY_REPORT_ALIVE, "%s", "");
}

static void tell_within(const arbiter *a, dirty_report_kind kind, uint32_t within_ms) {
    dirty_report r = {.kind = kind, .within_ms = within_ms};
    if (a->boot->report_fd > 0)
        dirty_report_send(a->boot->report_fd, &r);
}

void herald_open(arbiter *a) {
    uint32_t every_ms = a->boot->report_ms;
    uv_timer_init(&a->loop, &a->herald_timer);
    a->herald_timer.data = a;
    if (a->boot->report_fd > 0 && every_ms > 0) {
        uv_timer_start(&a->herald_timer, on_time, every_ms, every_ms);
        uv_unref((uv_handle_t *)&a->herald_timer);
    }
    tell_within(a, DIRTY_REPORT_STARTED, a->o->boot_timeout_ms);
}

void herald_tell(arbiter *a, dirty_report_kind kind, const char *format, ...) {
    dirty_report r = {.kind = kind};
    va_list args;
    if (a->boot->report_fd <= 0)
        return;
    va_start(args, format);
    vsnprintf(r.text, sizeof r.text, format, args);
    va_end(args);
    dirty_report_send(a->boot->report_fd, &r);
}

void herald_ready(arbiter *a) {
    char text[512];
    snprintf(text, sizeof text, "socket=%s workers=%u threads=%u apps=%u boot_ms=%llu",
             a->boot->socket_path, a->o->workers, a->o->threads, a->o->app_count,
             (unsigned long long)((dirty_now_ns() - a->started_ns) / DIRTY_NS_PER_MS));
    if (a->boot->report_fd > 0)
        herald_tell(a, DIRTY_REPORT_READY, "%s", text);
    else
        dirty_log(DIRTY_LOG_INFO, "ready", "%s", text);
}

void herald_stopping(arbiter *a) {
    /* once for what runs, once for workers that close their apps */
    uint64_t within_ms = 2 * (uint64_t)a->o->graceful_timeout_ms;
    tell_within(a, DIRTY_REPORT_STOPPING,
                within_ms < UINT32_MAX ? (uint32_t)within_ms : UINT32_MAX);
}

void herald_close(arbiter *a) {
    if (a->herald_timer.data != NULL && !uv_is_closing((uv_handle_t *)&a->herald_timer))
        uv_close((uv_handle_t *)&a->herald_timer, NULL);
}
