#include "arbiter/plan.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "arbiter/refusal.h"
#include "arbiter/session.h"
#include "base/log.h"

/* -- Deals
 * ---------------------------------------------------------------------------------- */

static void deal_free(deal *d) {
    if (d == NULL)
        return;
    free(d->specs);
    free(d->apps);
    free(d->at);
    free(d);
}

static deal *deal_new(const plan *p) {
    deal *d = calloc(1, sizeof *d);
    uint32_t room = p->o->app_count ? p->o->app_count : 1, highest = 0;
    if (d == NULL)
        return NULL;
    for (uint32_t i = 0; i < p->o->app_count; i++)
        if (p->apps[i]->index > highest)
            highest = p->apps[i]->index;
    d->at_len = highest + 1;
    d->specs = calloc(room, sizeof *d->specs);
    d->apps = calloc(room, sizeof *d->apps);
    d->at = malloc(d->at_len * sizeof *d->at);
    if (d->specs == NULL || d->apps == NULL || d->at == NULL) {
        deal_free(d);
        return NULL;
    }
    for (uint32_t i = 0; i < d->at_len; i++)
        d->at[i] = -1;
    return d;
}

static void give(const plan *p, deal *d, uint32_t i) {
    d->at[p->apps[i]->index] = (int16_t)d->app_count;
    d->apps[d->app_count] = p->apps[i];
    d->specs[d->app_count] = &p->o->apps[i];
    d->app_count++;
}

bool deal_is_exclusive(const deal *d) {
    for (uint32_t i = 0; i < d->app_count; i++)
        if (d->specs[i]->exclusive)
            return true;
    return false;
}

/* How many of the first `places` places host the app number i of the plan. */
static uint32_t hosts_of(const plan *p, uint32_t i, uint32_t places) {
    uint32_t hosts = 0;
    for (uint32_t k = 0; k < places && k < p->deal_count; k++)
        hosts += deal_at(p->deals[k], p->apps[i]) >= 0;
    return hosts;
}

static bool add_deal(plan *p) {
    deal **deals = realloc(p->deals, (p->deal_count + 1) * sizeof(deal *));
    if (deals == NULL)
        return false;
    p->deals = deals;
    deals[p->deal_count] = deal_new(p);
    if (deals[p->deal_count] == NULL)
        return false;
    p->deal_count++;
    return true;
}

/* The place with the fewest apps that does not have this one yet. */
static deal *least_loaded(const plan *p, uint32_t i) {
    deal *best = NULL;
    for (uint32_t k = 0; k < p->deal_count; k++)
        if (deal_at(p->deals[k], p->apps[i]) < 0 &&
            (best == NULL || p->deals[k]->app_count < best->app_count))
            best = p->deals[k];
    return best;
}

/* Apps without a limit go everywhere, apps with one to the emptiest places. */
static void deal_apps(plan *p) {
    for (uint32_t i = 0; i < p->o->app_count; i++) {
        uint32_t limit = p->o->apps[i].workers;
        uint32_t wanted = limit == 0 || limit > p->deal_count ? p->deal_count : limit;
        if (limit > p->deal_count)
            dirty_log(DIRTY_LOG_WARN, "app wants more workers than there are",
                      "app=%s wanted=%u workers=%u", p->o->apps[i].name, limit,
                      p->deal_count);
        for (uint32_t hosts = 0; hosts < wanted; hosts++)
            give(p, least_loaded(p, i), i);
    }
}

const deal *plan_deal(arbiter *a, plan *p, uint32_t number) {
    (void)a;
    while (p->deal_count < number) {
        if (!add_deal(p))
            return NULL;
        for (uint32_t i = 0; i < p->o->app_count; i++) {
            uint32_t limit = p->o->apps[i].workers;
            if (limit == 0 || hosts_of(p, i, p->deal_count - 1) < limit)
                give(p, p->deals[p->deal_count - 1], i);
        }
    }
    return p->deals[number - 1];
}

bool plan_can_spare(const arbiter *a, const plan *p, uint32_t number) {
    (void)a;
    for (uint32_t i = 0; i < p->o->app_count; i++) {
        uint32_t limit = p->o->apps[i].workers, hosts = 0;
        if (number > p->deal_count || deal_at(p->deals[number - 1], p->apps[i]) < 0)
            continue;
        hosts = hosts_of(p, i, p->place_count);
        if (hosts <= 1 || (limit > 0 && hosts <= limit))
            return false;
    }
    return true;
}

/* -- Life
 * ----------------------------------------------------------------------------------- */

void plan_ref(plan *p) {
    p->refs++;
}

void plan_unref(arbiter *a, plan *p) {
    if (p == NULL || --p->refs > 0)
        return;
    for (uint32_t i = 0; i < p->deal_count; i++)
        deal_free(p->deals[i]);
    for (uint32_t i = 0; p->apps != NULL && i < p->o->app_count; i++)
        if (p->apps[i] != NULL)
            app_unref(a, p->apps[i]);
    if (p->o != a->boot && a->boot->source.release != NULL)
        a->boot->source.release(a->boot->source.ctx, p->o);
    free(p->deals);
    free(p->apps);
    free(p);
}

plan *plan_new(arbiter *a, const dirty_arbiter_options *o) {
    plan *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->o = o;
    p->refs = 1;
    p->number = ++a->last_plan;
    p->place_count = o->workers;
    p->apps = calloc(o->app_count ? o->app_count : 1, sizeof(app *));
    bool ok = p->apps != NULL;
    for (uint32_t i = 0; ok && i < o->app_count; i++) {
        p->apps[i] = app_take(a, o->apps[i].name);
        ok = p->apps[i] != NULL;
    }
    while (ok && p->deal_count < o->workers)
        ok = add_deal(p);
    if (!ok) {
        plan_unref(a, p);
        return NULL;
    }
    deal_apps(p);
    return p;
}

static bool has_app(const plan *p, const app *wanted) {
    for (uint32_t i = 0; i < p->o->app_count; i++)
        if (p->apps[i] == wanted)
            return true;
    return false;
}

static void remove_app(arbiter *a, app *gone) {
    session *s;
    app_hide(a, gone);
    DL_FOREACH (a->sessions, s)
        if (s->state == SESSION_READING && s->app == gone)
            s->app = NULL; /* looked up again when the request is whole */
    for (int priority = 0; priority <= DIRTY_PRIORITY_LAST; priority++)
        while (gone->waiting[priority] != NULL)
            refuse_removed(gone->waiting[priority]);
}

void plan_install(arbiter *a, plan *p) {
    plan *former = a->plan;
    a->plan = p;
    a->o = p->o;
    for (uint32_t i = 0; i < p->o->app_count; i++) {
        p->apps[i]->spec = &p->o->apps[i];
        p->apps[i]->hosts = hosts_of(p, i, p->place_count);
        app_show(a, p->apps[i]);
    }
    for (uint32_t i = 0; former != NULL && i < former->o->app_count; i++)
        if (!has_app(p, former->apps[i]))
            remove_app(a, former->apps[i]);
    plan_unref(a, former);
}
