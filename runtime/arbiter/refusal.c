#include "arbiter/refusal.h"

#include <stdarg.h>
#include <stdio.h>

#include "arbiter/availability.h"
#include "arbiter/worker.h"
#include "base/clock.h"

#define MESSAGE_MAX 600

static void append_details(const session *s, const refusal *r, dirty_buf *out) {
    dirty_buf_append_cstr(out, "{");
    if (s->request.app != NULL) {
        dirty_buf_append_cstr(out, "\"app\":");
        dirty_buf_json_string(out, s->request.app->name, strlen(s->request.app->name));
        dirty_buf_append_cstr(out, ",");
    }
    if (s->request.action[0] != '\0') {
        dirty_buf_append_cstr(out, "\"action\":");
        dirty_buf_json_string(out, s->request.action, strlen(s->request.action));
        dirty_buf_append_cstr(out, ",");
    }
    if (r->phase != NULL)
        dirty_buf_printf(out, "\"phase\":\"%s\",", r->phase);
    uint64_t now_ns = dirty_now_ns();
    uint64_t elapsed_ms =
        s->request.arrived_ns ? (now_ns - s->request.arrived_ns) / DIRTY_NS_PER_MS : 0;
    dirty_buf_printf(out, "\"elapsed_ms\":%llu,\"started\":\"%s\"%s}",
                     (unsigned long long)elapsed_ms, r->started,
                     r->extra ? r->extra : "");
    dirty_buf_append(out, "", 1);
}

void refuse(session *s, const refusal *r, const char *format, ...) {
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof message ? (size_t)n : sizeof message - 1;

    dirty_buf details = {0}, frame = {0};
    append_details(s, r, &details);
    dirty_error_encode(&frame, s->request.id, (uint16_t)r->code,
                       (dirty_slice){message, len},
                       dirty_buf_failed(&details) ? NULL : (const char *)details.base);
    app_count(s->a, s->request.app,
              &(meter_sample){.action = s->request.action,
                              .outcome = r->code,
                              .resolved = *r->started == 'y',
                              .queue_ns = s->request.arrived_ns
                                              ? dirty_now_ns() - s->request.arrived_ns
                                              : 0});
    bool keep = !r->end && s->request.whole;
    if (dirty_buf_failed(&frame))
        session_fail(s);
    else
        session_answer(s, frame.base, frame.len, keep);
    dirty_buf_deinit(&details);
    dirty_buf_deinit(&frame);
}

void refuse_fault(session *s, dirty_wire_fault fault) {
    const dirty_wire_limits *limits = &s->a->o->limits;
    dirty_buf extra = {0};
    dirty_wire_fault_members(&extra, fault, limits->max_message, limits->max_args);
    dirty_buf_append(&extra, "", 1);
    refusal r = {DIRTY_CODE_PROTOCOL, "no", "receive",
                 dirty_buf_failed(&extra) ? NULL : (const char *)extra.base, true};
    if (fault == DIRTY_WIRE_TOO_LONG)
        refuse(s, &r, "%s (%u bytes); raise it in dirty.conf.lua, or send less",
               dirty_wire_fault_text(fault), limits->max_message);
    else
        refuse(s, &r, "%s", dirty_wire_fault_text(fault));
    dirty_buf_deinit(&extra);
}

void refuse_app(session *s, dirty_slice name) {
    char served[400];
    size_t at = 0;
    served[0] = '\0';
    for (uint32_t i = 0; i < s->a->o->app_count && at < sizeof served - 1; i++)
        at += (size_t)snprintf(served + at, sizeof served - at, "%s%s", i ? ", " : "",
                               s->a->o->apps[i].name);
    dirty_buf extra = {0};
    dirty_buf_append_cstr(&extra, ",\"app\":");
    dirty_buf_json_string(&extra, name.base, name.len);
    dirty_buf_append(&extra, "", 1);
    refusal r = {DIRTY_CODE_APP_NOT_FOUND, "no", NULL,
                 dirty_buf_failed(&extra) ? NULL : (const char *)extra.base, false};
    refuse(s, &r, "no app \"%.*s\" is served here; served: %s", (int)name.len, name.base,
           served);
    dirty_buf_deinit(&extra);
}

void refuse_removed(session *s) {
    refusal r = {DIRTY_CODE_APP_NOT_FOUND, "no", "queue", NULL, false};
    refuse(s, &r, "the app %s was removed by a reload", s->request.app->name);
}

void refuse_no_workers(session *s) {
    char extra[64];
    snprintf(extra, sizeof extra, ",\"retry_after_ms\":%u",
             places_retry_after_ms(s->a, s->request.app));
    refusal r = {DIRTY_CODE_NO_WORKERS, "no", "queue", extra, false};
    const char *fault = places_fault(s->a, s->request.app);
    refuse(s, &r, "the workers that host %s fail to boot again and again%s%s",
           s->request.app->name, *fault ? ": " : "", fault);
}

void refuse_overloaded(session *s) {
    arbiter *a = s->a;
    char extra[64];
    uint32_t retry_ms = app_retry_after_ms(s->request.app, a->o->threads);
    snprintf(extra, sizeof extra, ",\"retry_after_ms\":%u", retry_ms);
    refusal r = {DIRTY_CODE_OVERLOADED, "no", "queue", extra, false};
    if (a->queued >= a->o->max_queue)
        refuse(s, &r, "%u requests wait already, max_queue allows %u over all apps",
               a->queued, a->o->max_queue);
    else
        refuse(s, &r, "%u requests wait already for %s, its max_queue allows %u",
               s->request.app->queued, s->request.app->name,
               s->request.app->spec->max_queue);
}

void refuse_upload(session *s) {
    refusal r = {DIRTY_CODE_OVERLOADED, "no", "receive", ",\"retry_after_ms\":1000",
                 true};
    refuse(s, &r,
           "requests of slow senders hold %llu MiB already, the most they may: send it "
           "again, and without pauses",
           UPLOAD_BYTES_MAX >> 20);
}

void refuse_connection(session *s, uint64_t connections_max) {
    refusal r = {DIRTY_CODE_OVERLOADED, "no", NULL, ",\"retry_after_ms\":250", true};
    refuse(s, &r,
           "%llu connections are open and busy, as many as the limit of open files "
           "(RLIMIT_NOFILE, LimitNOFILE) allows",
           (unsigned long long)connections_max);
}

void refuse_shutdown(session *s, const char *started) {
    refusal r = {DIRTY_CODE_SHUTDOWN, started, *started == 'n' ? "queue" : "run", NULL,
                 false};
    refuse(s, &r,
           *started == 'n' ? "the runtime is shutting down and takes no new calls"
                           : "the runtime is shutting down, the call was ended");
}

void refuse_retired(session *s, const worker *w, const char *started) {
    bool ran = *started == 'y';
    refusal r = {DIRTY_CODE_SHUTDOWN, started, ran ? "run" : "receive", NULL, false};
    refuse(s, &r, "%s.%s was %s: its worker %s, and graceful_timeout (%g s) was over",
           s->request.app->name, s->request.action, ran ? "ended" : "not started",
           w->retired ? w->retired : "had to go", w->a->o->graceful_timeout_ms / 1000.0);
}

static unsigned long long since_ms(uint64_t at_ns) {
    return (dirty_now_ns() - at_ns) / DIRTY_NS_PER_MS;
}

void refuse_timeout(session *s, const char *phase) {
    refusal r = {DIRTY_CODE_TIMEOUT, "no", phase, NULL, false};
    unsigned long long ms = since_ms(s->request.arrived_ns);
    const char *name = s->request.app ? s->request.app->name : "";
    if (*phase == 'q') {
        refuse(s, &r, "%s.%s waited %llu ms for a free lane and was not started", name,
               s->request.action, ms);
    } else {
        r.end = !s->request.whole;
        refuse(s, &r, "the request was not received whole within %llu ms", ms);
    }
}

void refuse_interrupted(session *s, dirty_code reason, bool started) {
    refusal r = {reason, started ? "yes" : "no", started ? "run" : "receive",
                 started ? ",\"killed\":true" : NULL, false};
    unsigned long long ms = since_ms(s->request.arrived_ns);
    if (!started && reason == DIRTY_CODE_TIMEOUT)
        /* A lane that has the whole request and has not begun is as good as a queue. */
        refuse_timeout(s, s->request.whole ? "queue" : "receive");
    else
        refuse(s, &r, "%s.%s %s %llu ms%s", s->request.app->name, s->request.action,
               reason == DIRTY_CODE_TIMEOUT ? "ran" : "was cancelled after", ms,
               started ? " and did not stop when it was interrupted: its worker is killed"
                       : "");
}
