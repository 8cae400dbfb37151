#include "arbiter/meter.h"

#include <stdlib.h>
#include <string.h>

#include "arbiter/hash.h"

struct meter_action {
    char *name; /* owned; "other" for the rest */
    uint64_t outcomes[DIRTY_CODE_LAST + 1];
    dirty_histogram queue, run;
    UT_hash_handle hh;
};

/* -- Counting -------------------------------------------------------------------- */

static void free_action(meter_action *a) {
    if (a != NULL)
        free(a->name);
    free(a);
}

static meter_action *new_action(const char *name) {
    meter_action *a = calloc(1, sizeof *a);
    if (a != NULL)
        a->name = strdup(name);
    if (a == NULL || a->name == NULL) {
        free_action(a);
        return NULL;
    }
    return a;
}

static meter_action *the_other(meter *m) {
    if (m->other == NULL)
        m->other = new_action("other");
    return m->other;
}

/* Returns the action of a name that is not the last one's. Not inlined: most are. */
static __attribute__((noinline)) meter_action *find(meter *m, const char *name,
                                                    bool resolved) {
    meter_action *a;
    HASH_FIND_STR(m->actions, name, a);
    if (a == NULL && resolved && m->action_count < METER_ACTIONS_MAX) {
        a = new_action(name);
        if (a == NULL)
            return NULL;
        HASH_ADD_KEYPTR(hh, m->actions, a->name, strlen(a->name), a);
        if (a->hh.tbl == NULL) {
            free_action(a);
            return the_other(m);
        }
        m->action_count++;
    }
    if (a == NULL)
        return the_other(m);
    m->last = a;
    return a;
}

void meter_count(meter *m, const meter_sample *s) {
    meter_action *a = m->last;
    if (a == NULL || strcmp(a->name, s->action) != 0)
        a = find(m, s->action, s->resolved);
    if (a == NULL)
        return;
    a->outcomes[s->outcome]++;
    dirty_histogram_add(&a->queue, s->queue_ns);
    if (s->run_ns > 0)
        dirty_histogram_add(&a->run, s->run_ns);
}

/* Returns by how much the lane's number has grown. */
static uint64_t growth(const uint64_t *number, uint64_t *folded) {
    uint64_t now = __atomic_load_n(number, __ATOMIC_RELAXED);
    uint64_t grown = now - *folded;
    *folded = now;
    return grown < UINT64_MAX / 2 ? grown : 0;
}

static void fold_histogram(dirty_histogram *to, const dirty_histogram *counts,
                           dirty_histogram *folded) {
    for (int i = 0; i <= DIRTY_HISTOGRAM_BUCKETS; i++)
        to->buckets[i] += growth(&counts->buckets[i], &folded->buckets[i]);
    to->sum_ns += growth(&counts->sum_ns, &folded->sum_ns);
    to->count += growth(&counts->count, &folded->count);
}

void meter_fold(meter *m, const char *name, const dirty_action_counts *counts,
                dirty_action_counts *folded, meter_gain *gain) {
    meter_action *a = name == NULL ? the_other(m) : find(m, name, true);
    if (a == NULL)
        return;
    for (int code = 0; code <= DIRTY_CODE_LAST; code++) {
        uint64_t grown = growth(&counts->outcomes[code], &folded->outcomes[code]);
        a->outcomes[code] += grown;
        gain->outcomes[code] += grown;
    }
    uint64_t run_ns = a->run.sum_ns, runs = a->run.count;
    fold_histogram(&a->queue, &counts->queue, &folded->queue);
    fold_histogram(&a->run, &counts->run, &folded->run);
    gain->run_ns += a->run.sum_ns - run_ns;
    gain->runs += a->run.count - runs;
}

void meter_deinit(meter *m) {
    meter_action *a = m->actions, *next;
    HASH_CLEAR(hh, m->actions); /* frees the table; its elements stay linked */
    for (; a != NULL; a = next) {
        next = a->hh.next;
        free_action(a);
    }
    free_action(m->other);
    memset(m, 0, sizeof *m);
}

/* -- Reports to the supervisor --------------------------------------------------- */

void meter_append_label(dirty_buf *out, const char *text) {
    dirty_buf_append(out, "\"", 1);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            dirty_buf_append(out, "\\", 1);
        dirty_buf_append(out, text, 1);
    }
    dirty_buf_append(out, "\"", 1);
}

static void append_labels(dirty_buf *out, const char *app, const meter_action *a) {
    dirty_buf_append_cstr(out, "{app=");
    meter_append_label(out, app);
    dirty_buf_append_cstr(out, ",action=");
    meter_append_label(out, a->name);
}

static void append_outcomes(const meter_action *a, const char *app, dirty_buf *out) {
    for (unsigned code = 0; code <= DIRTY_CODE_LAST; code++) {
        if (a->outcomes[code] == 0)
            continue;
        dirty_buf_append_cstr(out, "dirty_requests_total");
        append_labels(out, app, a);
        dirty_buf_printf(out, ",code=\"%s\"} %llu\n", code ? dirty_code_name(code) : "OK",
                         (unsigned long long)a->outcomes[code]);
    }
}

static void append_histogram(const meter_action *a, const char *app, bool run,
                             dirty_buf *out) {
    const dirty_histogram *h = run ? &a->run : &a->queue;
    const char *name = run ? "dirty_request_run_seconds" : "dirty_request_queue_seconds";
    unsigned long long below = 0;
    if (h->count == 0)
        return;
    for (int i = 0; i <= DIRTY_HISTOGRAM_BUCKETS; i++) {
        below += h->buckets[i];
        dirty_buf_printf(out, "%s_bucket", name);
        append_labels(out, app, a);
        if (i < DIRTY_HISTOGRAM_BUCKETS)
            dirty_buf_printf(out, ",le=\"%g\"} %llu\n", dirty_histogram_bounds_s[i],
                             below);
        else
            dirty_buf_printf(out, ",le=\"+Inf\"} %llu\n", below);
    }
    dirty_buf_printf(out, "%s_sum", name);
    append_labels(out, app, a);
    dirty_buf_printf(out, "} %.9f\n%s_count", (double)h->sum_ns / 1e9, name);
    append_labels(out, app, a);
    dirty_buf_printf(out, "} %llu\n", (unsigned long long)h->count);
}

void meter_append_requests(const meter *m, const char *app, dirty_buf *out) {
    for (const meter_action *a = m->actions; a != NULL; a = a->hh.next)
        append_outcomes(a, app, out);
    if (m->other != NULL)
        append_outcomes(m->other, app, out);
}

void meter_append_histograms(const meter *m, const char *app, bool run, dirty_buf *out) {
    for (const meter_action *a = m->actions; a != NULL; a = a->hh.next)
        append_histogram(a, app, run, out);
    if (m->other != NULL)
        append_histogram(m->other, app, run, out);
}
