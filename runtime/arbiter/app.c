#include "arbiter/app.h"

#include <stdlib.h>
#include <utlist.h>

#include "arbiter/request.h"
#include "base/clock.h"

static app *find_any(const arbiter *a, const char *name) {
    app *p;
    DL_FOREACH (a->apps, p)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

static bool index_is_taken(const arbiter *a, uint32_t index) {
    const app *p;
    DL_FOREACH (a->apps, p)
        if (p->index == index)
            return true;
    return false;
}

app *app_take(arbiter *a, const char *name) {
    app *p = find_any(a, name);
    if (p != NULL) {
        p->refs++;
        return p;
    }
    p = calloc(1, sizeof *p);
    if (p != NULL)
        p->name = strdup(name);
    if (p == NULL || p->name == NULL) {
        free(p);
        return NULL;
    }
    p->refs = 1;
    p->name_len = strlen(name);
    while (index_is_taken(a, p->index))
        p->index++;
    DL_APPEND(a->apps, p);
    return p;
}

void app_unref(arbiter *a, app *p) {
    if (--p->refs > 0)
        return;
    app_hide(a, p);
    DL_DELETE(a->apps, p);
    meter_deinit(&p->meter);
    free(p->name);
    free(p);
}

void app_show(arbiter *a, app *p) {
    if (!p->shown)
        HASH_ADD_KEYPTR(hh, a->apps_by_name, p->name, p->name_len, p);
    p->shown = true;
}

void app_hide(arbiter *a, app *p) {
    if (a->found == p)
        a->found = NULL;
    if (p->shown && p->hh.tbl != NULL)
        HASH_DEL(a->apps_by_name, p);
    p->shown = false;
}

static app *search(const arbiter *a, dirty_slice name) {
    app *p;
    HASH_FIND(hh, a->apps_by_name, name.base, name.len, p);
    if (p != NULL)
        return p;
    DL_FOREACH (a->apps, p) /* it may be missing in the table for lack of memory */
        if (p->shown && dirty_slice_equals(name, p->name, p->name_len))
            return p;
    return NULL;
}

app *app_look_up(arbiter *a, dirty_slice name) {
    a->found = search(a, name);
    return a->found;
}

bool app_has_room(const arbiter *a, const app *p) {
    return a->queued < a->o->max_queue && p->queued < p->spec->max_queue;
}

uint32_t app_retry_after_ms(const app *p, uint32_t threads) {
    uint64_t lanes = (uint64_t)(p->hosts ? p->hosts : 1) * threads;
    uint64_t wait_ms = p->run_ns_mean / DIRTY_NS_PER_MS * (p->queued + 1) / lanes;
    if (wait_ms < 10)
        return 10;
    return wait_ms > 30000 ? 30000 : (uint32_t)wait_ms;
}

void app_enqueue(arbiter *a, request *r) {
    app *p = r->app;
    request **head = &p->waiting[r->priority];
    request *before = NULL;
    /* A new request is usually the youngest. Only a returned request is older. */
    if (*head != NULL && (*head)->queue_prev->order > r->order)
        for (before = *head; before != NULL && before->order < r->order;)
            before = before->queue_next;
    if (before != NULL)
        DL_PREPEND_ELEM2(*head, before, r, queue_prev, queue_next);
    else
        DL_APPEND2(*head, r, queue_prev, queue_next);
    p->waiting_bits |= (uint16_t)(1u << r->priority);
    p->queued++;
    a->queued++;
}

void app_dequeue(arbiter *a, request *r) {
    app *p = r->app;
    request **head = &p->waiting[r->priority];
    DL_DELETE2(*head, r, queue_prev, queue_next);
    if (*head == NULL)
        p->waiting_bits &= (uint16_t)~(1u << r->priority);
    p->queued--;
    a->queued--;
}

uint64_t app_oldest_ns(const app *p) {
    uint64_t oldest_ns = 0;
    for (int i = 0; i <= DIRTY_PRIORITY_LAST; i++) {
        const request *r = p->waiting[i];
        if (r != NULL && (oldest_ns == 0 || r->arrived_ns < oldest_ns))
            oldest_ns = r->arrived_ns;
    }
    return oldest_ns;
}

void app_count(arbiter *a, app *p, const meter_sample *s) {
    if (s->outcome == DIRTY_CODE_NONE)
        a->counters.values++;
    else
        a->counters.errors[s->outcome]++;
    if (p == NULL)
        return;
    if (s->outcome == DIRTY_CODE_NONE)
        p->values++;
    else
        p->errors[s->outcome]++;
    if (s->run_ns > 0)
        p->run_ns_mean =
            p->run_ns_mean ? (p->run_ns_mean * 15 + s->run_ns) / 16 : s->run_ns;
    meter_count(&p->meter, s);
}

/* Copy a name out of a lane's memory. Returns false if it is none. */
static bool copy_name(char out[DIRTY_COUNTS_NAME], const char *name) {
    size_t len = strnlen(name, DIRTY_COUNTS_NAME - 1);
    memcpy(out, name, len);
    out[len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (out[i] < 0x21 || out[i] > 0x7e)
            return false;
    return len > 0 && len <= DIRTY_NAME_MAX;
}

static void add_gain(arbiter *a, app *p, const meter_gain *gain) {
    a->counters.values += gain->outcomes[DIRTY_CODE_NONE];
    p->values += gain->outcomes[DIRTY_CODE_NONE];
    for (int code = 1; code <= DIRTY_CODE_LAST; code++) {
        a->counters.errors[code] += gain->outcomes[code];
        p->errors[code] += gain->outcomes[code];
    }
    if (gain->runs == 0)
        return;
    /* As if the calls had been counted one by one: each is a sixteenth of the mean. */
    uint64_t mean_ns = gain->run_ns / gain->runs;
    uint64_t weight = gain->runs < 16 ? gain->runs : 16;
    p->run_ns_mean = p->run_ns_mean
                         ? (p->run_ns_mean * (16 - weight) + mean_ns * weight) / 16
                         : mean_ns;
}

void app_fold_counts(arbiter *a, app *const *apps, uint32_t app_count,
                     const dirty_call_counts *counts, dirty_call_counts *folded) {
    uint32_t used = atomic_load_explicit(&counts->used, memory_order_acquire);
    for (uint32_t i = 0; i < used && i < DIRTY_COUNTS_ACTIONS; i++) {
        char name[DIRTY_COUNTS_NAME];
        meter_gain gain = {{0}, 0, 0};
        uint16_t at = counts->apps[i];
        if (at >= app_count || !copy_name(name, counts->entries[i].action))
            continue;
        meter_fold(&apps[at]->meter, name, &counts->entries[i], &folded->entries[i],
                   &gain);
        add_gain(a, apps[at], &gain);
    }
    for (uint32_t i = 0; i < app_count; i++) {
        meter_gain gain = {{0}, 0, 0};
        meter_fold(&apps[i]->meter, NULL, &counts->entries[DIRTY_COUNTS_ACTIONS + i],
                   &folded->entries[DIRTY_COUNTS_ACTIONS + i], &gain);
        add_gain(a, apps[i], &gain);
    }
}
