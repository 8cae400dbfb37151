#include "arbiter/pool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <utlist.h>

#include "arbiter/exit_hook.h"
#include "arbiter/ready_lanes.h"
#include "arbiter/takeover.h"
#include "base/log.h"
#include "base/proc.h"

void pool_step(arbiter *a) {
    worker *w, *next;
    DL_FOREACH_SAFE (a->workers, w, next)
        slot_look(w);
}

void pool_check_memory(arbiter *a) {
    for (uint32_t i = 0; i < a->slot_room; i++) {
        worker *w = a->slots[i]->worker;
        if (w != NULL && w->max_rss > 0 && dirty_proc_rss_bytes(w->pid) > w->max_rss)
            worker_want_recycled(w, "max_rss");
    }
}

void pool_read_pages(arbiter *a) {
    worker *w;
    DL_FOREACH (a->workers, w) {
        if (w->state == WORKER_DEAD)
            continue;
        worker_look_at_pages(w);
        for (uint32_t i = 0; i < w->lane_count; i++)
            lane_fold_counts(&w->lanes[i]);
    }
}

slot *pool_slot(arbiter *a, uint32_t number) {
    while (a->slot_room < number) {
        slot **slots = realloc(a->slots, (a->slot_room + 1) * sizeof(slot *));
        if (slots == NULL)
            return NULL;
        a->slots = slots;
        slot *p = calloc(1, sizeof *p);
        if (p == NULL)
            return NULL;
        slots[a->slot_room++] = p;
        p->a = a;
        p->number = a->slot_room;
        uv_timer_init(&a->loop, &p->respawn);
        p->respawn.data = p;
    }
    return a->slots[number - 1];
}

/* Returns why the slot's worker can't boot: all of its apps are known not to load.
 * NULL: it may boot. */
static const char *fault_of(const deal *d) {
    for (uint32_t i = 0; i < d->app_count; i++)
        if (d->specs[i]->fault == NULL)
            return NULL;
    return d->app_count > 0 ? d->specs[0]->fault : NULL;
}

int pool_init(arbiter *a) {
    if (pool_slot(a, a->plan->slot_count) == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < a->plan->slot_count; i++) {
        const char *fault = fault_of(a->plan->deals[i]);
        if (fault != NULL)
            slot_set_open(a->slots[i], fault);
        int rc = slot_fill(a->slots[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void pool_adjust(arbiter *a) {
    uint32_t wanted = a->plan->slot_count;
    const char *why = a->reloads ? "was removed by a reload" : "was removed by scaling";
    if (pool_slot(a, wanted) == NULL)
        return;
    for (uint32_t i = 0; i < a->slot_room; i++) {
        slot *p = a->slots[i];
        bool waits = uv_is_active((uv_handle_t *)&p->respawn);
        if (i < wanted && p->worker == NULL && !waits)
            slot_fill_after(p, 0);
        if (i >= wanted && p->worker != NULL)
            worker_retire(p->worker, why);
        if (i >= wanted && p->next != NULL)
            worker_retire(p->next, why);
    }
}

static void reap(worker *w, int wait_status) {
    worker_note_exit(w, wait_status);
    for (uint32_t i = 0; i < w->lane_count; i++) {
        ready_lanes_settle(&w->lanes[i]);
        takeover_settle(&w->lanes[i], wait_status);
        if (w->lanes[i].poll_open) /* a process that the worker left behind may hold the
                                      other end */
            uv_poll_stop(&w->lanes[i].poll);
    }
    exit_hook_call(w);
}

void pool_reap(arbiter *a) {
    worker *w, *next;
    DL_FOREACH_SAFE (a->workers, w, next) {
        siginfo_t info = {.si_pid = 0};
        int wait_status;
        if (w->state == WORKER_DEAD ||
            waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
            info.si_pid != w->pid)
            continue;
        /* Kill processes that its apps left behind, while the group id is still
         * valid. */
        kill(-w->pid, SIGKILL);
        if (waitpid(w->pid, &wait_status, 0) == w->pid)
            reap(w, wait_status);
    }
}

void pool_close(arbiter *a) {
    for (uint32_t i = 0; i < a->slot_room; i++)
        if (!uv_is_closing((uv_handle_t *)&a->slots[i]->respawn))
            uv_close((uv_handle_t *)&a->slots[i]->respawn, NULL);
}

void pool_deinit(arbiter *a) {
    for (uint32_t i = 0; i < a->slot_room; i++)
        free(a->slots[i]);
    free(a->slots);
    a->slots = NULL;
    a->slot_room = 0;
}

/* -- Scaling --------------------------------------------------------------------- */

void pool_recount(arbiter *a) {
    plan *p = a->plan;
    for (uint32_t i = 0; i < p->o->app_count; i++) {
        p->apps[i]->hosts = 0;
        for (uint32_t k = 0; k < p->slot_count && k < p->deal_count; k++)
            p->apps[i]->hosts += deal_at(p->deals[k], p->apps[i]) >= 0;
    }
}

int pool_scale(arbiter *a, int delta, char *why, size_t why_size) {
    plan *p = a->plan;
    if (a->reloads) {
        snprintf(why, why_size, "a reload is running: try again when it is done");
        return -1;
    }
    if (delta < 0 && !plan_can_spare(a, p, p->slot_count)) {
        snprintf(why, why_size,
                 "without worker %u an app would have no worker, or fewer than its limit",
                 p->slot_count);
        return -1;
    }
    if (delta > 0 && (p->slot_count >= DIRTY_WORKERS_MAX ||
                      plan_deal(a, p, p->slot_count + 1) == NULL)) {
        snprintf(why, why_size, "there are %u workers already", p->slot_count);
        return -1;
    }
    p->slot_count += (uint32_t)delta;
    pool_recount(a);
    dirty_log(DIRTY_LOG_INFO, "scaled", "workers=%u", p->slot_count);
    pool_adjust(a);
    return 0;
}

/* -- Views ----------------------------------------------------------------------- */

bool pool_all_ready(const arbiter *a) {
    for (uint32_t i = 0; i < a->plan->slot_count; i++)
        if (a->slots[i]->worker == NULL || a->slots[i]->worker->state != WORKER_READY)
            return false;
    return true;
}

bool pool_all_gone(const arbiter *a) {
    const worker *w;
    DL_FOREACH (a->workers, w)
        if (!worker_is_gone(w))
            return false;
    return true;
}
