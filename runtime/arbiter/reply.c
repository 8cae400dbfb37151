#include "arbiter/reply.h"

#include <stdarg.h>
#include <stdio.h>

#include "arbiter/availability.h"
#include "arbiter/recent.h"
#include "arbiter/worker.h"
#include "base/clock.h"

#define MESSAGE_MAX 600

static void append_details(const conn *c, const error_reply *r, dirty_buf *out) {
    dirty_buf_append_cstr(out, "{");
    if (c->request.app != NULL) {
        dirty_buf_append_cstr(out, "\"app\":");
        dirty_buf_json_string(out, c->request.app->name, strlen(c->request.app->name));
        dirty_buf_append_cstr(out, ",");
    }
    if (c->request.action[0] != '\0') {
        dirty_buf_append_cstr(out, "\"action\":");
        dirty_buf_json_string(out, c->request.action, strlen(c->request.action));
        dirty_buf_append_cstr(out, ",");
    }
    if (r->phase != NULL)
        dirty_buf_printf(out, "\"phase\":\"%s\",", r->phase);
    uint64_t now_ns = dirty_now_ns();
    uint64_t elapsed_ms =
        c->request.arrived_ns ? (now_ns - c->request.arrived_ns) / DIRTY_NS_PER_MS : 0;
    dirty_buf_printf(out, "\"elapsed_ms\":%llu,\"started\":\"%s\"%s}",
                     (unsigned long long)elapsed_ms, r->started,
                     r->extra ? r->extra : "");
    dirty_buf_append(out, "", 1);
}

void reply_error(conn *c, const error_reply *r, const char *format, ...) {
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof message ? (size_t)n : sizeof message - 1;

    dirty_buf details = {0}, frame = {0};
    append_details(c, r, &details);
    dirty_error_encode(&frame, c->request.id, (uint16_t)r->code,
                       (dirty_slice){message, len},
                       dirty_buf_failed(&details) ? NULL : (const char *)details.base);
    app_count(c->a, c->request.app,
              &(meter_sample){.action = c->request.action,
                              .outcome = r->code,
                              .resolved = *r->started == 'y',
                              .queue_ns = c->request.arrived_ns
                                              ? dirty_now_ns() - c->request.arrived_ns
                                              : 0});
    recent_note(c->a, &c->request, r->code, *r->started == 'y', message);
    bool keep = !r->end && c->request.whole;
    if (dirty_buf_failed(&frame))
        conn_fail(c);
    else
        conn_answer(c, frame.base, frame.len, keep);
    dirty_buf_deinit(&details);
    dirty_buf_deinit(&frame);
}

void reply_wire_fault(conn *c, dirty_wire_fault fault) {
    const dirty_wire_limits *limits = &c->a->o->limits;
    dirty_buf extra = {0};
    dirty_wire_fault_members(&extra, fault, limits->max_message, limits->max_args);
    dirty_buf_append(&extra, "", 1);
    error_reply r = {DIRTY_CODE_PROTOCOL, "no", "receive",
                     dirty_buf_failed(&extra) ? NULL : (const char *)extra.base, true};
    if (fault == DIRTY_WIRE_TOO_LONG)
        reply_error(c, &r, "%s (%u bytes); raise it in dirty.conf.lua, or send less",
                    dirty_wire_fault_text(fault), limits->max_message);
    else
        reply_error(c, &r, "%s", dirty_wire_fault_text(fault));
    dirty_buf_deinit(&extra);
}

void reply_no_app(conn *c, dirty_slice name) {
    char served[400];
    size_t at = 0;
    served[0] = '\0';
    for (uint32_t i = 0; i < c->a->o->app_count && at < sizeof served - 1; i++)
        at += (size_t)snprintf(served + at, sizeof served - at, "%s%s", i ? ", " : "",
                               c->a->o->apps[i].name);
    dirty_buf extra = {0};
    dirty_buf_append_cstr(&extra, ",\"app\":");
    dirty_buf_json_string(&extra, name.base, name.len);
    dirty_buf_append(&extra, "", 1);
    error_reply r = {DIRTY_CODE_APP_NOT_FOUND, "no", NULL,
                     dirty_buf_failed(&extra) ? NULL : (const char *)extra.base, false};
    reply_error(c, &r, "no app \"%.*s\" is served here; served: %s", (int)name.len,
                name.base, served);
    dirty_buf_deinit(&extra);
}

void reply_app_removed(conn *c) {
    error_reply r = {DIRTY_CODE_APP_NOT_FOUND, "no", "queue", NULL, false};
    reply_error(c, &r, "the app %s was removed by a reload", c->request.app->name);
}

void reply_no_workers(conn *c) {
    char extra[64];
    snprintf(extra, sizeof extra, ",\"retry_after_ms\":%u",
             availability_retry_after_ms(c->a, c->request.app));
    error_reply r = {DIRTY_CODE_NO_WORKERS, "no", "queue", extra, false};
    const char *fault = availability_fault(c->a, c->request.app);
    reply_error(c, &r, "the workers that host %s keep failing to boot%s%s",
                c->request.app->name, *fault ? ": " : "", fault);
}

void reply_overloaded(conn *c) {
    arbiter *a = c->a;
    char extra[64];
    uint32_t retry_ms = app_retry_after_ms(c->request.app, a->o->threads);
    snprintf(extra, sizeof extra, ",\"retry_after_ms\":%u", retry_ms);
    error_reply r = {DIRTY_CODE_OVERLOADED, "no", "queue", extra, false};
    if (a->queued >= a->o->max_queue)
        reply_error(c, &r, "%u requests are waiting; max_queue allows %u for all apps",
                    a->queued, a->o->max_queue);
    else
        reply_error(c, &r, "%u requests are waiting for %s; its max_queue allows %u",
                    c->request.app->queued, c->request.app->name,
                    c->request.app->spec->max_queue);
}

void reply_uploads_full(conn *c) {
    error_reply r = {DIRTY_CODE_OVERLOADED, "no", "receive", ",\"retry_after_ms\":1000",
                     true};
    reply_error(c, &r,
                "requests of slow senders hold %llu MiB, the maximum: send the request "
                "again, without pauses",
                UPLOAD_BYTES_MAX >> 20);
}

void reply_too_many_conns(conn *c, uint64_t connections_max) {
    error_reply r = {DIRTY_CODE_OVERLOADED, "no", NULL, ",\"retry_after_ms\":250", true};
    reply_error(c, &r,
                "%llu connections are open and busy, as many as the limit of open files "
                "(RLIMIT_NOFILE, LimitNOFILE) allows",
                (unsigned long long)connections_max);
}

void reply_shutdown(conn *c, const char *started) {
    error_reply r = {DIRTY_CODE_SHUTDOWN, started, *started == 'n' ? "queue" : "run",
                     NULL, false};
    reply_error(c, &r,
                *started == 'n' ? "the runtime is shutting down and takes no new calls"
                                : "the runtime is shutting down and stopped the call");
}

void reply_worker_retired(conn *c, const worker *w, const char *started) {
    bool ran = *started == 'y';
    error_reply r = {DIRTY_CODE_SHUTDOWN, started, ran ? "run" : "receive", NULL, false};
    reply_error(
        c, &r, "%s.%s was %s: its worker %s, and graceful_timeout (%g s) has passed",
        c->request.app->name, c->request.action, ran ? "stopped" : "not started",
        w->retired ? w->retired : "had to end", w->a->o->graceful_timeout_ms / 1000.0);
}

static unsigned long long since_ms(uint64_t at_ns) {
    return (dirty_now_ns() - at_ns) / DIRTY_NS_PER_MS;
}

void reply_timeout(conn *c, const char *phase) {
    error_reply r = {DIRTY_CODE_TIMEOUT, "no", phase, NULL, false};
    unsigned long long ms = since_ms(c->request.arrived_ns);
    const char *name = c->request.app ? c->request.app->name : "";
    if (*phase == 'q') {
        reply_error(c, &r, "%s.%s waited %llu ms for a free lane and was not started",
                    name, c->request.action, ms);
    } else {
        r.end = !c->request.whole;
        reply_error(c, &r, "the request did not arrive completely within %llu ms", ms);
    }
}

void reply_interrupted(conn *c, dirty_code reason, bool started) {
    error_reply r = {reason, started ? "yes" : "no", started ? "run" : "receive",
                     started ? ",\"killed\":true" : NULL, false};
    unsigned long long ms = since_ms(c->request.arrived_ns);
    if (!started && reason == DIRTY_CODE_TIMEOUT)
        /* A lane that has the whole request but has not begun it counts as a queue. */
        reply_timeout(c, c->request.whole ? "queue" : "receive");
    else
        reply_error(
            c, &r, "%s.%s %s %llu ms%s", c->request.app->name, c->request.action,
            reason == DIRTY_CODE_TIMEOUT ? "ran" : "was cancelled after", ms,
            started ? " and did not stop when it was interrupted: its worker was killed"
                    : "");
}
