#include "arbiter/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"

/* -- Deals ----------------------------------------------------------------------- */

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

/* Returns how many of the first `slots` slots host app number i. */
static uint32_t hosts_of(const plan *p, uint32_t i, uint32_t slots) {
    uint32_t hosts = 0;
    for (uint32_t k = 0; k < slots && k < p->deal_count; k++)
        hosts += deal_at(p->deals[k], p->apps[i]) >= 0;
    return hosts;
}

/* Make room for one more deal in the list. Returns false if memory runs out. */
static bool has_room(deal ***list, uint32_t count) {
    deal **more = realloc(*list, (count + 1) * sizeof(deal *));
    if (more != NULL)
        *list = more;
    return more != NULL;
}

static bool add_deal(plan *p) {
    if (!has_room(&p->deals, p->deal_count))
        return false;
    p->deals[p->deal_count] = deal_new(p);
    if (p->deals[p->deal_count] == NULL)
        return false;
    p->deal_count++;
    return true;
}

/* Returns the slot with the fewest apps that does not host app i yet. */
static deal *least_loaded(const plan *p, uint32_t i) {
    deal *best = NULL;
    for (uint32_t k = 0; k < p->deal_count; k++)
        if (deal_at(p->deals[k], p->apps[i]) < 0 &&
            (best == NULL || p->deals[k]->app_count < best->app_count))
            best = p->deals[k];
    return best;
}

/* Deal apps without a limit to all slots, and apps with a limit to the slots with the
 * fewest apps. */
static void deal_apps(plan *p) {
    for (uint32_t i = 0; i < p->o->app_count; i++) {
        uint32_t limit = p->o->apps[i].workers;
        uint32_t wanted = limit == 0 || limit > p->deal_count ? p->deal_count : limit;
        if (limit > p->deal_count && !p->o->dev)
            dirty_log(DIRTY_LOG_WARN, "app asks for more workers than there are",
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
            if (p->quarantined[i] == NULL &&
                (limit == 0 || hosts_of(p, i, p->deal_count - 1) < limit))
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
        hosts = hosts_of(p, i, p->slot_count);
        if (hosts <= 1 || (limit > 0 && hosts <= limit))
            return false;
    }
    return true;
}

/* -- Quarantine ------------------------------------------------------------------ */

int plan_index(const plan *p, const app *what) {
    for (uint32_t i = 0; i < p->o->app_count; i++)
        if (p->apps[i] == what)
            return (int)i;
    return -1;
}

/* Replace a deal. Keep the old one: workers may still use it. */
static int replace_deal(plan *p, uint32_t at, deal *d) {
    if (d == NULL || !has_room(&p->former, p->former_count)) {
        deal_free(d);
        return -ENOMEM;
    }
    p->former[p->former_count++] = p->deals[at];
    p->deals[at] = d;
    return 0;
}

static deal *deal_without(const plan *p, const deal *d, uint32_t i) {
    deal *out = deal_new(p);
    for (uint32_t k = 0; out != NULL && k < p->o->app_count; k++)
        if (k != i && deal_at(d, p->apps[k]) >= 0)
            give(p, out, k);
    return out;
}

static deal *deal_only(const plan *p, uint32_t i) {
    deal *out = deal_new(p);
    if (out != NULL)
        give(p, out, i);
    return out;
}

static bool has_slot_alone(const plan *p, uint32_t i) {
    for (uint32_t k = 0; k < p->slot_count && k < p->deal_count; k++)
        if (p->deals[k]->app_count == 1 && p->deals[k]->apps[0] == p->apps[i])
            return true;
    return false;
}

/* Add a last slot that hosts only this app. */
static int add_slot_alone(plan *p, uint32_t i) {
    if (p->slot_count >= DIRTY_WORKERS_MAX ||
        (p->deal_count == p->slot_count && !add_deal(p)) ||
        replace_deal(p, p->slot_count, deal_only(p, i)) < 0)
        return -ENOMEM;
    p->slot_count++;
    return 0;
}

int plan_quarantine(plan *p, uint32_t i, const char *why) {
    char *kept = strdup(why);
    if (kept == NULL || (!has_slot_alone(p, i) && add_slot_alone(p, i) < 0)) {
        free(kept);
        return -ENOMEM;
    }
    p->quarantined_count += p->quarantined[i] == NULL;
    free(p->quarantined[i]);
    p->quarantined[i] = kept;
    /* Ignore a failure: the slot then continues as before. */
    for (uint32_t k = 0; k < p->deal_count; k++)
        if (p->deals[k]->app_count > 1 && deal_at(p->deals[k], p->apps[i]) >= 0)
            replace_deal(p, k, deal_without(p, p->deals[k], i));
    return 0;
}

/* Quarantine the apps that are known not to load, unless no other app is left to
 * protect. */
static int quarantine_faulty(plan *p) {
    uint32_t faulty = 0;
    for (uint32_t i = 0; i < p->o->app_count; i++)
        faulty += p->o->apps[i].fault != NULL;
    for (uint32_t i = 0; faulty < p->o->app_count && i < p->o->app_count; i++)
        if (p->o->apps[i].fault != NULL && plan_quarantine(p, i, p->o->apps[i].fault) < 0)
            return -ENOMEM;
    return 0;
}

/* -- Creation and closing -------------------------------------------------------- */

void plan_ref(plan *p) {
    p->refs++;
}

void plan_unref(arbiter *a, plan *p) {
    if (p == NULL || --p->refs > 0)
        return;
    for (uint32_t i = 0; i < p->deal_count; i++)
        deal_free(p->deals[i]);
    for (uint32_t i = 0; i < p->former_count; i++)
        deal_free(p->former[i]);
    for (uint32_t i = 0; p->quarantined != NULL && i < p->o->app_count; i++)
        free(p->quarantined[i]);
    for (uint32_t i = 0; p->apps != NULL && i < p->o->app_count; i++)
        if (p->apps[i] != NULL)
            app_unref(a, p->apps[i]);
    if (p->o != a->boot && a->boot->source.release != NULL)
        a->boot->source.release(a->boot->source.ctx, p->o);
    free(p->deals);
    free(p->former);
    free(p->quarantined);
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
    p->slot_count = o->workers;
    p->apps = calloc(o->app_count ? o->app_count : 1, sizeof(app *));
    p->quarantined = calloc(o->app_count ? o->app_count : 1, sizeof(char *));
    bool ok = p->apps != NULL && p->quarantined != NULL;
    for (uint32_t i = 0; ok && i < o->app_count; i++) {
        p->apps[i] = app_take(a, o->apps[i].name);
        ok = p->apps[i] != NULL;
    }
    while (ok && p->deal_count < o->workers)
        ok = add_deal(p);
    if (ok)
        deal_apps(p);
    if (!ok || quarantine_faulty(p) < 0) {
        plan_unref(a, p);
        return NULL;
    }
    return p;
}

void plan_install(arbiter *a, plan *p) {
    plan *former = a->plan;
    a->plan = p;
    a->o = p->o;
    for (uint32_t i = 0; i < p->o->app_count; i++) {
        p->apps[i]->spec = &p->o->apps[i];
        p->apps[i]->hosts = hosts_of(p, i, p->slot_count);
        app_show(a, p->apps[i]);
    }
    plan_unref(a, former);
}
