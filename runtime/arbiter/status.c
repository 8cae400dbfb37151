#include "arbiter/status.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arbiter/app.h"
#include "arbiter/place.h"
#include "arbiter/session.h"
#include "base/clock.h"

typedef unsigned long long ull;

static double seconds_since(uint64_t at_ns) {
    return (double)(dirty_now_ns() - at_ns) / 1e9;
}

static void append_string(dirty_buf *out, const char *text) {
    dirty_buf_json_string(out, text, strlen(text));
}

/* Resident pages of this process, statm's second field. */
static ull rss_bytes(void) {
    ull pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (ull)sysconf(_SC_PAGESIZE);
}

static void append_arbiter(arbiter *a, dirty_buf *out) {
    static const char *const phases[] = {"starting", "serving", "draining", "ending"};
    dirty_buf_printf(out,
                     "\"arbiter\":{\"pid\":%d,\"uptime_s\":%.3f,\"state\":\"%s\","
                     "\"sessions\":%u,\"rss_bytes\":%llu,\"socket\":",
                     (int)a->pid, seconds_since(a->started_ns), phases[a->phase],
                     a->session_count, rss_bytes());
    append_string(out, a->o->socket_path);
    dirty_buf_append_cstr(out, "}");
}

static const char *lane_state(const lane *l) {
    static const char *const names[] = {
        [DIRTY_BATON_IDLE] = "running",      [DIRTY_BATON_READING] = "reading",
        [DIRTY_BATON_RUNNING] = "running",   [DIRTY_BATON_WRITING] = "writing",
        [DIRTY_BATON_ANSWERED] = "answered", [DIRTY_BATON_TAKEN] = "taken",
    };
    if (!l->ready)
        return "booting";
    return l->busy ? names[dirty_baton_read(l->page, l->seq)] : "idle";
}

static void append_lane(const lane *l, dirty_buf *out) {
    dirty_buf_printf(out, "{\"lane\":%u,\"state\":\"%s\",\"served\":%llu", l->number,
                     lane_state(l), (ull)l->served);
    if (l->page != NULL)
        dirty_buf_printf(out, ",\"tid\":%u,\"lua_bytes\":%llu",
                         atomic_load(&l->page->tid),
                         (ull)atomic_load(&l->page->lua_bytes));
    if (l->busy) {
        dirty_buf_append_cstr(out, ",\"app\":");
        append_string(out, l->app->spec->name);
        dirty_buf_append_cstr(out, ",\"action\":");
        append_string(out, l->action);
        dirty_buf_printf(out, ",\"running_ms\":%.0f,\"caller_pid\":%d",
                         seconds_since(l->started_ns) * 1e3, (int)l->caller_pid);
    }
    dirty_buf_append_cstr(out, "}");
}

static void append_place(const place *p, dirty_buf *out) {
    const worker *w = p->worker;
    dirty_buf_printf(out, "{\"number\":%u,\"generation\":%u,\"pid\":", p->number,
                     p->generation);
    if (w != NULL)
        dirty_buf_printf(out, "%d,\"state\":\"%s\",\"uptime_s\":%.3f", (int)w->pid,
                         worker_state_name(w->state), seconds_since(w->spawned_ns));
    else
        dirty_buf_append_cstr(out, "null,\"state\":\"waiting\",\"uptime_s\":0");
    dirty_buf_append_cstr(out, ",\"apps\":[");
    for (uint32_t i = 0; i < p->app_count; i++) {
        dirty_buf_append_cstr(out, i ? "," : "");
        append_string(out, p->specs[i]->name);
    }
    dirty_buf_append_cstr(out, "],\"last_exit\":");
    if (p->last_exit[0] != '\0')
        append_string(out, p->last_exit);
    else
        dirty_buf_append_cstr(out, "null");
    dirty_buf_append_cstr(out, ",\"lanes\":[");
    for (uint32_t i = 0; w != NULL && i < w->lane_count; i++) {
        dirty_buf_append_cstr(out, i ? "," : "");
        append_lane(&w->lanes[i], out);
    }
    dirty_buf_append_cstr(out, "]}");
}

static void append_errors(const uint64_t *errors, dirty_buf *out) {
    const char *comma = "";
    dirty_buf_append_cstr(out, "{");
    for (unsigned code = 1; code <= DIRTY_CODE_LAST; code++) {
        if (errors[code] == 0)
            continue;
        dirty_buf_printf(out, "%s\"%s\":%llu", comma, dirty_code_name(code),
                         (ull)errors[code]);
        comma = ",";
    }
    dirty_buf_append_cstr(out, "}");
}

static void append_apps(const arbiter *a, dirty_buf *out) {
    dirty_buf_append_cstr(out, "\"apps\":{");
    for (uint32_t i = 0; i < a->o->app_count; i++) {
        const app *p = &a->apps[i];
        dirty_buf_append_cstr(out, i ? "," : "");
        append_string(out, p->spec->name);
        dirty_buf_printf(out,
                         ":{\"workers\":%u,\"limit\":%u,\"queued\":%u,\"max_queue\":%u,"
                         "\"timeout_ms\":%u,\"values\":%llu,\"run_ms_mean\":%.3f,"
                         "\"errors\":",
                         p->hosts, p->spec->workers, p->queued, p->spec->max_queue,
                         p->spec->timeout_ms, (ull)p->values,
                         (double)p->run_ns_mean / 1e6);
        append_errors(p->errors, out);
        dirty_buf_append_cstr(out, "}");
    }
    dirty_buf_append_cstr(out, "}");
}

static void append_queue(const arbiter *a, dirty_buf *out) {
    uint64_t oldest_ns = 0;
    for (uint32_t i = 0; i < a->o->app_count; i++)
        for (int p = 0; p <= DIRTY_PRIORITY_LAST; p++) {
            const session *s = a->apps[i].waiting[p];
            if (s != NULL && (oldest_ns == 0 || s->arrived_ns < oldest_ns))
                oldest_ns = s->arrived_ns;
        }
    dirty_buf_printf(out, "\"queue\":{\"length\":%u,\"limit\":%u,\"oldest_ms\":%.0f}",
                     a->queued, a->o->max_queue,
                     oldest_ns ? seconds_since(oldest_ns) * 1e3 : 0.0);
}

static void append_counters(const arbiter *a, dirty_buf *out) {
    const arbiter_counters *c = &a->counters;
    dirty_buf_printf(out,
                     "\"counters\":{\"connections\":%llu,\"requests\":%llu,"
                     "\"values\":%llu,\"abandoned\":%llu,\"disconnects\":%llu,"
                     "\"requeued\":%llu,\"respawns\":%llu,\"boot_failures\":%llu,"
                     "\"killed\":%llu,\"errors\":",
                     (ull)c->connections, (ull)c->requests, (ull)c->values,
                     (ull)c->abandoned, (ull)c->disconnects, (ull)c->requeued,
                     (ull)c->respawns, (ull)c->boot_failures, (ull)c->killed);
    append_errors(c->errors, out);
    dirty_buf_append_cstr(out, "}");
}

void status_append(arbiter *a, dirty_buf *out) {
    dirty_buf_append_cstr(out, "{");
    append_arbiter(a, out);
    dirty_buf_append_cstr(out, ",\"workers\":[");
    for (uint32_t i = 0; i < a->o->workers; i++) {
        dirty_buf_append_cstr(out, i ? "," : "");
        append_place(&a->places[i], out);
    }
    dirty_buf_append_cstr(out, "],");
    append_apps(a, out);
    dirty_buf_append_cstr(out, ",");
    append_queue(a, out);
    dirty_buf_append_cstr(out, ",");
    append_counters(a, out);
    dirty_buf_printf(out, ",\"versions\":%s}",
                     a->o->version_json ? a->o->version_json : "{}");
}
