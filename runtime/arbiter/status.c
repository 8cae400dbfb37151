#include "arbiter/status.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "arbiter/app.h"
#include "arbiter/availability.h"
#include "arbiter/reload.h"
#include "arbiter/conn.h"
#include "base/clock.h"
#include "base/proc.h"

typedef unsigned long long ull;

static double seconds_since(uint64_t at_ns) {
    return (double)(dirty_now_ns() - at_ns) / 1e9;
}

static void append_string(dirty_buf *out, const char *text) {
    dirty_buf_json_string(out, text, strlen(text));
}

/* Append a JSON string, or null for "". */
static void append_text(const char *text, dirty_buf *out) {
    if (text[0] != '\0')
        append_string(out, text);
    else
        dirty_buf_append_cstr(out, "null");
}

/* Append who started this arbiter and how the previous one ended. */
static void append_supervision(const dirty_arbiter_options *o, dirty_buf *out) {
    if (o->supervisor_pid == 0)
        return;
    dirty_buf_printf(out,
                     ",\"supervisor_pid\":%d,\"restarts\":%u,\"hangs\":%u,\"last_exit\":",
                     (int)o->supervisor_pid, o->restarts, o->hangs);
    if (o->restarts > 0)
        append_string(out, o->last_exit);
    else
        dirty_buf_append_cstr(out, "null");
}

static void append_arbiter(arbiter *a, dirty_buf *out) {
    static const char *const phases[] = {"starting", "serving", "draining", "ending"};
    dirty_buf_printf(out,
                     "\"arbiter\":{\"pid\":%d,\"uptime_s\":%.3f,\"state\":\"%s\","
                     "\"sessions\":%u,\"plan\":%u,\"rss_bytes\":%llu,\"socket\":",
                     (int)a->pid, seconds_since(a->started_ns), phases[a->phase],
                     a->conn_count, a->plan->number, (ull)dirty_proc_rss_bytes(a->pid));
    append_string(out, a->boot->socket_path);
    dirty_buf_printf(out,
                     ",\"socket_binds\":%u,\"socket_trouble\":", a->heard.socket_binds);
    append_text(a->heard.socket, out);
    append_supervision(a->boot, out);
    dirty_buf_append_cstr(out, "},\"log\":{\"file\":");
    append_text(a->boot->log_file != NULL ? a->boot->log_file : "", out);
    dirty_buf_printf(out, ",\"opens\":%u,\"trouble\":", a->heard.log_opens);
    append_text(a->heard.log, out);
    dirty_buf_append_cstr(out, "}");
}

/* Append a slot's state: how its last worker ended and how its boots go. */
static void append_slot(const slot *p, dirty_buf *out) {
    dirty_buf_printf(out, ",\"boot_failures\":%u,\"circuit\":\"%s\",\"last_exit\":",
                     p->failures, slot_is_open(p) ? "open" : "closed");
    if (p->last_exit[0] != '\0')
        append_string(out, p->last_exit);
    else
        dirty_buf_append_cstr(out, "null");
}

static const char *lane_state(const lane *l) {
    static const char *const names[] = {
        [DIRTY_BATON_IDLE] = "running",      [DIRTY_BATON_READING] = "reading",
        [DIRTY_BATON_RUNNING] = "running",   [DIRTY_BATON_WRITING] = "writing",
        [DIRTY_BATON_ANSWERED] = "answered", [DIRTY_BATON_TAKEN] = "taken",
        [DIRTY_BATON_FREE] = "answered",
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
        append_string(out, l->app->name);
        dirty_buf_append_cstr(out, ",\"action\":");
        append_string(out, l->action);
        dirty_buf_printf(out, ",\"running_ms\":%.0f,\"caller_pid\":%d",
                         seconds_since(l->started_ns) * 1e3, (int)l->caller_pid);
    }
    dirty_buf_append_cstr(out, "}");
}

static void append_worker(const worker *w, dirty_buf *out) {
    dirty_buf_printf(out,
                     "{\"number\":%u,\"generation\":%u,\"plan\":%u,\"pid\":%d,"
                     "\"state\":\"%s\",\"uptime_s\":%.3f,\"apps\":[",
                     w->number, w->generation, w->plan->number, (int)w->pid,
                     worker_state_name(w->state), seconds_since(w->spawned_ns));
    for (uint32_t i = 0; i < w->deal->app_count; i++) {
        dirty_buf_append_cstr(out, i ? "," : "");
        append_string(out, w->deal->apps[i]->name);
    }
    dirty_buf_append_cstr(out, "]");
    append_slot(w->slot, out);
    dirty_buf_append_cstr(out, ",\"lanes\":[");
    for (uint32_t i = 0; i < w->lane_count; i++) {
        dirty_buf_append_cstr(out, i ? "," : "");
        append_lane(&w->lanes[i], out);
    }
    dirty_buf_append_cstr(out, "]}");
}

static void append_empty_slot(const slot *p, dirty_buf *out) {
    uint64_t now_ns = dirty_now_ns();
    dirty_buf_printf(out,
                     "{\"number\":%u,\"generation\":%u,\"pid\":null,"
                     "\"state\":\"waiting\",\"uptime_s\":0,\"retry_in_ms\":%llu,"
                     "\"apps\":[],\"lanes\":[]",
                     p->number, p->generation,
                     p->respawn_at_ns > now_ns
                         ? (ull)((p->respawn_at_ns - now_ns) / DIRTY_NS_PER_MS)
                         : 0ull);
    append_slot(p, out);
    dirty_buf_append_cstr(out, "}");
}

/* Append the workers by slot. Ending workers follow the one that serves. */
static void append_workers(const arbiter *a, dirty_buf *out) {
    const char *comma = "";
    for (uint32_t i = 0; i < a->slot_room; i++) {
        const slot *p = a->slots[i];
        const worker *w;
        bool empty = p->worker == NULL || p->worker->state == WORKER_DEAD;
        if (empty && i < a->plan->slot_count) {
            dirty_buf_append_cstr(out, comma);
            append_empty_slot(p, out);
            comma = ",";
        }
        DL_FOREACH (a->workers, w) {
            if (w->slot != p || w->state == WORKER_DEAD)
                continue;
            dirty_buf_append_cstr(out, comma);
            append_worker(w, out);
            comma = ",";
        }
    }
}

static void append_reload_end(const reload_end *last, dirty_buf *out) {
    if (last->number == 0) {
        dirty_buf_append_cstr(out, "null");
        return;
    }
    dirty_buf_printf(out,
                     "{\"number\":%llu,\"ago_s\":%.3f,\"result\":", (ull)last->number,
                     seconds_since(last->at_ns));
    append_string(out, last->result);
    dirty_buf_append_cstr(out, ",\"reason\":");
    append_string(out, last->reason);
    dirty_buf_append_cstr(out, "}");
}

static void append_reload(const reload *r, dirty_buf *out) {
    dirty_buf_printf(out, "\"reload\":{\"number\":%llu,\"state\":\"%s\",\"result\":",
                     (ull)r->number, reload_state_name(r->state));
    append_string(out, r->result);
    dirty_buf_append_cstr(out, ",\"reason\":");
    append_string(out, r->reason);
    dirty_buf_append_cstr(out, ",\"last\":");
    append_reload_end(&r->last, out);
    dirty_buf_append_cstr(out, "}");
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

static double age_ms(uint64_t at_ns) {
    return at_ns ? seconds_since(at_ns) * 1e3 : 0.0;
}

static void append_app(const arbiter *a, const app *p, dirty_buf *out) {
    bool hope = availability_has_hope(a, p);
    append_string(out, p->name);
    dirty_buf_printf(out,
                     ":{\"workers\":%u,\"ready\":%u,\"limit\":%u,"
                     "\"circuit\":\"%s\",\"retry_in_ms\":%u,",
                     p->hosts, availability_ready_count(a, p), p->spec->workers,
                     hope ? "closed" : "open",
                     hope ? 0 : availability_retry_after_ms(a, p));
    dirty_buf_printf(out,
                     "\"queued\":%u,\"max_queue\":%u,\"oldest_ms\":%.0f,"
                     "\"timeout_ms\":%u,\"values\":%llu,\"run_ms_mean\":%.3f,"
                     "\"errors\":",
                     p->queued, p->spec->max_queue, age_ms(app_oldest_ns(p)),
                     p->spec->timeout_ms, (ull)p->values, (double)p->run_ns_mean / 1e6);
    append_errors(p->errors, out);
    dirty_buf_append_cstr(out, ",\"apart\":");
    int at = plan_index(a->plan, p);
    if (at >= 0 && a->plan->quarantined[at] != NULL)
        append_string(out, a->plan->quarantined[at]);
    else
        dirty_buf_append_cstr(out, "null");
    dirty_buf_append_cstr(out, "}");
}

static void append_apps(const arbiter *a, dirty_buf *out) {
    dirty_buf_append_cstr(out, "\"apps\":{");
    for (uint32_t i = 0; i < a->o->app_count; i++) {
        dirty_buf_append_cstr(out, i ? "," : "");
        append_app(a, a->plan->apps[i], out);
    }
    dirty_buf_append_cstr(out, "}");
}

static void append_queue(const arbiter *a, dirty_buf *out) {
    uint64_t oldest = 0;
    const app *p;
    DL_FOREACH (a->apps, p) {
        uint64_t at = app_oldest_ns(p);
        if (at != 0 && (oldest == 0 || at < oldest))
            oldest = at;
    }
    dirty_buf_printf(out, "\"queue\":{\"length\":%u,\"limit\":%u,\"oldest_ms\":%.0f}",
                     a->queued, a->o->max_queue, age_ms(oldest));
}

static void append_counters(const arbiter *a, dirty_buf *out) {
    const arbiter_counters *c = &a->counters;
    dirty_buf_printf(out,
                     "\"counters\":{\"connections\":%llu,\"requests\":%llu,"
                     "\"values\":%llu,\"abandoned\":%llu,\"disconnects\":%llu,"
                     "\"requeued\":%llu,\"stalled\":%llu,\"evicted\":%llu,\"respawns\":%"
                     "llu,\"boot_failures\":%llu,"
                     "\"killed\":%llu,\"reloads\":%llu,\"reload_failures\":%llu,"
                     "\"recycled\":%llu,\"direct\":%llu,\"shared\":%llu,"
                     "\"bounced\":%llu,\"errors\":",
                     (ull)c->connections, (ull)c->requests, (ull)c->values,
                     (ull)c->abandoned, (ull)c->disconnects, (ull)c->requeued,
                     (ull)c->stalled, (ull)c->evicted, (ull)c->respawns,
                     (ull)c->boot_failures, (ull)c->killed, (ull)c->reloads,
                     (ull)c->reload_failures, (ull)c->recycled, (ull)c->direct,
                     (ull)c->shared, (ull)c->bounced);
    append_errors(c->errors, out);
    dirty_buf_append_cstr(out, "}");
}

void status_append(arbiter *a, dirty_buf *out) {
    dirty_buf_append_cstr(out, "{");
    append_arbiter(a, out);
    dirty_buf_printf(out, ",\"ready\":%s,\"workers\":[",
                     a->phase == ARBITER_SERVING && availability_serves_all(a) ? "true"
                                                                               : "false");
    append_workers(a, out);
    dirty_buf_append_cstr(out, "],");
    append_apps(a, out);
    dirty_buf_append_cstr(out, ",");
    append_queue(a, out);
    dirty_buf_append_cstr(out, ",");
    append_counters(a, out);
    dirty_buf_append_cstr(out, ",");
    append_reload(a->reload, out);
    dirty_buf_printf(out, ",\"upgrade\":%s",
                     a->heard.upgrade_json[0] != '\0'
                         ? a->heard.upgrade_json
                         : "{\"state\":\"off\",\"last\":null}");
    dirty_buf_printf(out, ",\"versions\":%s}",
                     a->boot->version_json ? a->boot->version_json : "{}");
}

void status_append_stack(lane *l, bool anew, dirty_buf *out) {
    dirty_buf_printf(out,
                     "{\"worker\":%u,\"pid\":%d,\"lane\":%u,\"app\":", l->worker_number,
                     (int)l->worker->pid, l->number);
    append_string(out, l->app->name);
    dirty_buf_append_cstr(out, ",\"action\":");
    append_string(out, l->action);
    dirty_buf_printf(
        out, ",\"running_ms\":%.0f,\"traceback\":", seconds_since(l->started_ns) * 1e3);
    if (anew)
        atomic_store(&l->page->stack_seq, 0);
    uint32_t len = l->page->stack_len;
    if (atomic_load(&l->page->stack_seq) == l->seq && len <= DIRTY_STACK_TEXT_MAX) {
        dirty_buf_json_string(out, l->page->stack_text, len);
    } else {
        dirty_buf_append_cstr(out, "null");
        lane_ask_stack(l);
    }
    dirty_buf_append_cstr(out, "}");
}
