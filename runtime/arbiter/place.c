#include "arbiter/place.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "arbiter/app.h"
#include "base/clock.h"
#include "base/log.h"

/* Backoff of a place whose workers die without serving: doubles from the first to the
 * last. */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 30000

/* -- Dealing apps
 * ------------------------------------------------------------------------- */

static uint32_t hosts_wanted(const arbiter *a, const dirty_app_spec *spec) {
    return spec->workers == 0 || spec->workers > a->o->workers ? a->o->workers
                                                               : spec->workers;
}

static void give(place *p, app *what) {
    p->app_at[what->index] = (int16_t)p->app_count;
    p->apps[p->app_count] = what;
    p->specs[p->app_count] = what->spec;
    p->app_count++;
    what->hosts++;
}

/* The place with the fewest apps that does not have this one yet. */
static place *least_loaded(arbiter *a, const app *what) {
    place *best = NULL;
    for (uint32_t i = 0; i < a->o->workers; i++) {
        place *p = &a->places[i];
        if (p->app_at[what->index] < 0 &&
            (best == NULL || p->app_count < best->app_count))
            best = p;
    }
    return best;
}

/* Apps without a limit go everywhere, apps with one to the emptiest places. */
static void deal_apps(arbiter *a) {
    for (uint32_t i = 0; i < a->o->app_count; i++) {
        app *what = &a->apps[i];
        uint32_t wanted = hosts_wanted(a, what->spec);
        if (what->spec->workers > a->o->workers)
            dirty_log(DIRTY_LOG_WARN, "app wants more workers than there are",
                      "app=%s wanted=%u workers=%u", what->spec->name,
                      what->spec->workers, a->o->workers);
        while (what->hosts < wanted)
            give(least_loaded(a, what), what);
    }
}

static int place_init(arbiter *a, uint32_t i) {
    place *p = &a->places[i];
    uint32_t room = a->o->app_count ? a->o->app_count : 1;
    p->a = a;
    p->number = i + 1;
    p->specs = calloc(room, sizeof *p->specs);
    p->apps = calloc(room, sizeof *p->apps);
    p->app_at = calloc(room, sizeof *p->app_at);
    if (p->specs == NULL || p->apps == NULL || p->app_at == NULL)
        return -ENOMEM;
    for (uint32_t k = 0; k < room; k++)
        p->app_at[k] = -1;
    uv_timer_init(&a->loop, &p->respawn);
    p->respawn.data = p;
    return 0;
}

/* -- Filling
 * -------------------------------------------------------------------------------- */

static void on_respawn(uv_timer_t *handle);

static void wait_and_fill(place *p, uint32_t ms) {
    p->respawn_at_ns = dirty_now_ns() + ms * DIRTY_NS_PER_MS;
    uv_timer_start(&p->respawn, on_respawn, ms, 0);
}

static uint32_t backoff_ms(uint32_t failures) {
    if (failures == 0)
        return 0;
    uint32_t doublings = failures - 1 < 16 ? failures - 1 : 16;
    uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << doublings;
    return ms > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : (uint32_t)ms;
}

static int fill(place *p) {
    int rc = worker_spawn(p, &p->worker);
    if (rc < 0)
        dirty_log(DIRTY_LOG_ERROR, "worker can't be started", "worker=%u reason=%s",
                  p->number, DIRTY_LOG_QUOTE(strerror(-rc)));
    return rc;
}

static void on_respawn(uv_timer_t *handle) {
    place *p = handle->data;
    p->respawn_at_ns = 0;
    if (p->a->phase == ARBITER_ENDING || p->worker != NULL)
        return;
    p->a->counters.respawns++;
    if (fill(p) < 0)
        wait_and_fill(p, backoff_ms(++p->failures));
}

static void boot_failed_at_start(place *p, const char *how) {
    dirty_log(DIRTY_LOG_ERROR, "first start failed, nothing is served",
              "worker=%u failure=%s remedy=%s", p->number, DIRTY_LOG_QUOTE(how),
              DIRTY_LOG_QUOTE("run `dirty check` for a full report"));
    arbiter_end(p->a, DIRTY_SERVE_BOOT);
}

void place_worker_gone(place *p, bool was_ready, const char *how) {
    arbiter *a = p->a;
    snprintf(p->last_exit, sizeof p->last_exit, "%s", how);
    if (!was_ready)
        a->counters.boot_failures++;
    if (a->phase == ARBITER_STARTING && !was_ready) {
        boot_failed_at_start(p, how);
    } else if (a->phase != ARBITER_ENDING) {
        uint32_t ms = backoff_ms(p->failures++);
        if (ms > 0)
            dirty_log(DIRTY_LOG_WARN, "worker will be replaced after a pause",
                      "worker=%u failures=%u pause_ms=%u", p->number, p->failures, ms);
        wait_and_fill(p, ms);
    }
    arbiter_progress(a);
}

void places_reap(arbiter *a) {
    for (uint32_t i = 0; i < a->o->workers; i++) {
        worker *w = a->places[i].worker;
        siginfo_t info = {.si_pid = 0};
        int wait_status;
        if (w == NULL ||
            waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
            info.si_pid != w->pid)
            continue;
        /* What its apps left behind ends with it, while the id is still its own. */
        kill(-w->pid, SIGKILL);
        if (waitpid(w->pid, &wait_status, 0) == w->pid)
            worker_reaped(w, wait_status);
    }
}

bool places_all_ready(const arbiter *a) {
    for (uint32_t i = 0; i < a->o->workers; i++)
        if (a->places[i].worker == NULL || a->places[i].worker->state != WORKER_READY)
            return false;
    return true;
}

bool places_all_gone(const arbiter *a) {
    for (uint32_t i = 0; i < a->o->workers; i++)
        if (a->places[i].worker != NULL)
            return false;
    return true;
}

int places_init(arbiter *a) {
    a->places = calloc(a->o->workers, sizeof *a->places);
    if (a->places == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < a->o->workers; i++)
        if (place_init(a, i) < 0)
            return -ENOMEM;
    deal_apps(a);
    for (uint32_t i = 0; i < a->o->workers; i++) {
        int rc = fill(&a->places[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void places_close(arbiter *a) {
    for (uint32_t i = 0; a->places != NULL && i < a->o->workers; i++)
        if (a->places[i].a != NULL &&
            !uv_is_closing((uv_handle_t *)&a->places[i].respawn))
            uv_close((uv_handle_t *)&a->places[i].respawn, NULL);
}

void places_deinit(arbiter *a) {
    for (uint32_t i = 0; a->places != NULL && i < a->o->workers; i++) {
        free(a->places[i].specs);
        free(a->places[i].apps);
        free(a->places[i].app_at);
    }
    free(a->places);
    a->places = NULL;
}
