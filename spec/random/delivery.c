#include "spec/random/delivery.h"

#include <stdlib.h>

#include "spec/chaos/call.h"
#include "spec/random/ask.h"

uint32_t random_below(uint64_t *rng, uint32_t n) {
    return (uint32_t)((chaos_random(rng) >> 32) % n);
}

uint32_t random_within(uint64_t *rng, uint32_t from, uint32_t to) {
    return from + random_below(rng, to - from + 1);
}

bool random_chance(uint64_t *rng, uint32_t percent) {
    return random_below(rng, 100) < percent;
}

/* -- Places
 * ------------------------------------------------------------------------------ */

/* Where bytes of a request mean something else than those before, or are handled by
 * another: inside the header, the route, at what the server takes first. */
static size_t notable_place(uint64_t *rng) {
    static const uint16_t places[] = {1,  2,  3,  4,    8,    15,   16,   17,   20,
                                      22, 25, 26, 8191, 8192, 8193, 8208, 16384};
    return places[random_below(rng, sizeof places / sizeof *places)];
}

/* From 1 to size - 1. */
static size_t pick_place(uint64_t *rng, const delivery_shape *shape) {
    size_t at = 1 + random_below(rng, (uint32_t)shape->size - 1);
    if (random_chance(rng, 40))
        at = notable_place(rng);
    else if (shape->inner_step > 0 && random_chance(rng, 60))
        at = shape->inner_at +
             shape->inner_step *
                 random_below(
                     rng,
                     (uint32_t)((shape->size - shape->inner_at) / shape->inner_step + 1));
    return at < shape->size ? at : 1 + at % (shape->size - 1);
}

static int compare(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* -- Pauses
 * ------------------------------------------------------------------------------ */

static uint32_t pick_pause_us(uint64_t *rng, const delivery_choice *choice) {
    uint32_t dice = random_below(rng, 100), recv_us = choice->recv_timeout_ms * 1000;
    if (dice < 45)
        return 0;
    if (dice < 80)
        return random_below(rng, 2000);
    if (dice < 97 || choice->without & WITHOUT_STALL)
        return random_below(rng, 30000);
    return random_within(rng, recv_us / 10 * 8, recv_us / 10 * 14);
}

static void pick_cuts(delivery *d, uint64_t *rng, const delivery_shape *shape,
                      const delivery_choice *choice) {
    if (choice->without & WITHOUT_SPLIT || shape->size < 2 || random_chance(rng, 50))
        return;
    d->cuts = random_within(rng, 1, random_chance(rng, 50) ? 1 : CUTS_MAX);
    for (uint32_t i = 0; i < d->cuts; i++) {
        d->cut_at[i] = pick_place(rng, shape);
        d->pause_us[i] = pick_pause_us(rng, choice);
    }
    qsort(d->cut_at, d->cuts, sizeof *d->cut_at, compare);
}

/* -- The end
 * ----------------------------------------------------------------------------- */

/* About the moment at which the deadline passes, or any before it. */
static void pick_patience(delivery *d, uint64_t *rng, const delivery_shape *shape,
                          const delivery_choice *choice) {
    uint32_t budget_us = shape->budget_ms * 1000, dice = random_below(rng, 100);
    if (choice->without & WITHOUT_HANG_UP || budget_us == 0)
        return;
    if (dice < 15)
        d->patience_us = budget_us;
    else if (dice < 22)
        d->patience_us = budget_us + random_below(rng, 1500);
    else if (dice < 29)
        d->patience_us =
            budget_us - random_below(rng, budget_us < 1500 ? budget_us : 1500);
    else if (dice < 33)
        d->patience_us = 1 + random_below(rng, budget_us);
}

static void pick_end(delivery *d, uint64_t *rng, const delivery_shape *shape,
                     const delivery_choice *choice) {
    uint32_t dice = random_below(rng, 100);
    bool inside = shape->size > 1 && random_chance(rng, 60);
    if (dice < 16 && !(choice->without & WITHOUT_HALF_CLOSE)) {
        d->then = END_HALF_CLOSE;
        inside = inside && !shape->bad;
    } else if (dice < 24 && !(choice->without & WITHOUT_HANG_UP)) {
        d->then = END_HANG_UP;
    } else if (dice < 28 && !(choice->without & WITHOUT_STALL) && shape->size > 1) {
        d->then = END_STALL;
        inside = true;
    } else {
        inside = false;
    }
    if (inside)
        d->stop_at = pick_place(rng, shape);
    /* Most times while those before it wait or run. */
    if (inside && !choice->first && !(choice->without & WITHOUT_PIPELINE) &&
        random_chance(rng, 70)) {
        d->awaits = false;
        d->wait_us = d->cuts = 0;
    }
}

void delivery_pick(delivery *d, uint64_t *rng, const delivery_shape *shape,
                   const delivery_choice *choice) {
    *d = (delivery){.stop_at = shape->size};
    d->awaits = choice->without & WITHOUT_PIPELINE || random_chance(rng, 40);
    if (choice->first || random_chance(rng, 30))
        d->wait_us = random_below(rng, random_chance(rng, 20) ? 30000 : 3000);
    pick_cuts(d, rng, shape, choice);
    pick_patience(d, rng, shape, choice);
    if (choice->last)
        pick_end(d, rng, shape, choice);
}
