#include "arbiter/metrics.h"

#include <utlist.h>

#include "arbiter/app.h"
#include "arbiter/availability.h"
#include "arbiter/conn.h"
#include "arbiter/worker.h"
#include "base/clock.h"
#include "base/proc.h"

typedef unsigned long long ull;

static void head(dirty_buf *out, const char *name, const char *type, const char *help) {
    dirty_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(dirty_buf *out, const char *name, const char *type, const char *help,
                double value) {
    head(out, name, type, help);
    dirty_buf_printf(out, "%s %.15g\n", name, value);
}

static void append_requests(const arbiter *a, dirty_buf *out) {
    const app *p;
    head(out, "dirty_requests_total", "counter",
         "Finished requests by app, action and code (OK for a value).");
    DL_FOREACH (a->apps, p)
        meter_append_requests(&p->meter, p->name, out);
    head(out, "dirty_request_queue_seconds", "histogram",
         "Time from the first byte of a request until a lane takes it or it is refused.");
    DL_FOREACH (a->apps, p)
        meter_append_histograms(&p->meter, p->name, false, out);
    head(out, "dirty_request_run_seconds", "histogram", "Time that the app ran.");
    DL_FOREACH (a->apps, p)
        meter_append_histograms(&p->meter, p->name, true, out);
}

static double oldest_seconds(const app *p) {
    uint64_t oldest_ns = app_oldest_ns(p);
    return oldest_ns ? (double)(dirty_now_ns() - oldest_ns) / 1e9 : 0;
}

static void append_queue(const arbiter *a, dirty_buf *out) {
    const app *p;
    head(out, "dirty_queue_length", "gauge", "Requests waiting for a lane.");
    DL_FOREACH (a->apps, p) {
        dirty_buf_append_cstr(out, "dirty_queue_length{app=");
        meter_append_label(out, p->name);
        dirty_buf_printf(out, "} %u\n", p->queued);
    }
    head(out, "dirty_queue_oldest_seconds", "gauge",
         "Age of the oldest waiting request.");
    DL_FOREACH (a->apps, p) {
        dirty_buf_append_cstr(out, "dirty_queue_oldest_seconds{app=");
        meter_append_label(out, p->name);
        dirty_buf_printf(out, "} %.6f\n", oldest_seconds(p));
    }
}

static void append_lanes(const arbiter *a, dirty_buf *out) {
    unsigned booting = 0, idle = 0, busy = 0, ending = 0;
    const worker *w;
    DL_FOREACH (a->workers, w)
        for (uint32_t i = 0; i < w->lane_count; i++) {
            const lane *l = &w->lanes[i];
            if (w->state == WORKER_BOOTING || !w->serves)
                booting++;
            else if (w->state != WORKER_READY)
                ending++;
            else if (l->busy)
                busy++;
            else
                idle++;
        }
    head(out, "dirty_lanes", "gauge", "Lanes by state.");
    dirty_buf_printf(out,
                     "dirty_lanes{state=\"booting\"} %u\ndirty_lanes{state=\"idle\"} %u\n"
                     "dirty_lanes{state=\"busy\"} %u\ndirty_lanes{state=\"ending\"} %u\n",
                     booting, idle, busy, ending);
}

static void append_workers(const arbiter *a, dirty_buf *out) {
    const worker *w;
    head(out, "dirty_worker_rss_bytes", "gauge", "Resident memory of a worker.");
    DL_FOREACH (a->workers, w)
        if (w->state != WORKER_DEAD)
            dirty_buf_printf(out,
                             "dirty_worker_rss_bytes{worker=\"%u\",pid=\"%d\"} %llu\n",
                             w->number, (int)w->pid, (ull)dirty_proc_rss_bytes(w->pid));
    head(out, "dirty_worker_exits_total", "counter", "Workers that ended, by reason.");
    for (int i = 0; i < WORKER_EXIT_REASONS; i++)
        dirty_buf_printf(out, "dirty_worker_exits_total{reason=\"%s\"} %llu\n",
                         worker_exit_reason_name(i), (ull)a->counters.exits[i]);
    head(out, "dirty_circuit_open", "gauge",
         "1 if the circuit of the worker's slot is open because its boots keep failing.");
    for (uint32_t i = 0; i < a->plan->slot_count && i < a->slot_room; i++)
        dirty_buf_printf(out, "dirty_circuit_open{worker=\"%u\"} %d\n", i + 1,
                         slot_is_open(a->slots[i]));
}

void metrics_append(arbiter *a, dirty_buf *out) {
    const arbiter_counters *c = &a->counters;
    append_requests(a, out);
    append_queue(a, out);
    append_lanes(a, out);
    append_workers(a, out);
    head(out, "dirty_reloads_total", "counter", "Reloads by result.");
    dirty_buf_printf(out,
                     "dirty_reloads_total{result=\"done\"} %llu\n"
                     "dirty_reloads_total{result=\"failed\"} %llu\n",
                     (ull)c->reloads, (ull)c->reload_failures);
    one(out, "dirty_respawns_total", "counter", "Workers started to replace dead ones.",
        (double)c->respawns);
    one(out, "dirty_recycled_total", "counter",
        "Workers replaced for max_requests or max_rss.", (double)c->recycled);
    one(out, "dirty_direct_total", "counter",
        "Requests that lanes took themselves (fast_path), without the arbiter.",
        (double)c->direct);
    one(out, "dirty_bounced_total", "counter",
        "Shared connections that lanes gave back to the arbiter.", (double)c->bounced);
    one(out, "dirty_abandoned_total", "counter",
        "Requests dropped before their start because their caller had disconnected.",
        (double)c->abandoned);
    one(out, "dirty_disconnects_total", "counter",
        "Callers that disconnected while their request ran.", (double)c->disconnects);
    one(out, "dirty_stalled_total", "counter",
        "Requests that lanes gave back because their senders were slow.",
        (double)c->stalled);
    one(out, "dirty_evicted_total", "counter",
        "Idle connections that were closed to make room.", (double)c->evicted);
    one(out, "dirty_connections_total", "counter", "Accepted connections.",
        (double)c->connections);
    one(out, "dirty_sessions", "gauge", "Open connections.", a->conn_count);
    one(out, "dirty_arbiter_rss_bytes", "gauge", "Resident memory of the arbiter.",
        (double)dirty_proc_rss_bytes(a->pid));
    one(out, "dirty_arbiter_restarts_total", "counter",
        "Arbiters that ended and were replaced.", a->boot->restarts);
    one(out, "dirty_arbiter_hangs_total", "counter",
        "Arbiters that hung and were killed.", a->boot->hangs);
    one(out, "dirty_uptime_seconds", "gauge", "Time since the arbiter started.",
        (double)(dirty_now_ns() - a->started_ns) / 1e9);
    head(out, "dirty_build_info", "gauge", "Always 1; the labels contain the version.");
    dirty_buf_printf(out, "dirty_build_info{version=\"%s\",protocol=\"%d\"} 1\n",
                     DIRTY_VERSION, DIRTY_WIRE_VERSION);
}
