#include "spec/random/world.h"

#include <inttypes.h>

#include "base/clock.h"
#include "spec/random/peer.h"

#define LOOK_NS (100 * DIRTY_NS_PER_MS)
/* Whoever hung up so lately may not have been noticed by the server. */
#define NOTICED_NS (1000 * DIRTY_NS_PER_MS)
/* Of what happened on all connections, where the arbiter died by itself. */
#define LAST_NOTES 120

/* -- Complaints
 * -------------------------------------------------------------------------- */

void world_complain(world *w, const char *format, ...) {
    va_list args;
    if (w->tally.complaints++ >= COMPLAINTS_PRINTED)
        return;
    fprintf(stderr, "random: seed %" PRIu64 ", after %.3f s: ", w->seed,
            (double)(dirty_now_ns() - w->began_ns) / 1e9);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* -- Who lives
 * --------------------------------------------------------------------------- */

static pid_t look_for_arbiter(const world *w) {
    pid_t arbiter, workers[MONKEY_WORKERS_MAX];
    monkey_look(&w->ape, &arbiter, workers);
    return arbiter;
}

static bool is_accounted_for(const world *w) {
    return w->stopping_ns != 0 || w->ape.beheadings != w->beheadings_seen;
}

void world_check_arbiter(world *w, uint64_t now_ns) {
    if (is_accounted_for(w))
        return;
    pid_t arbiter = look_for_arbiter(w);
    if (w->arbiter != 0 && arbiter != w->arbiter) {
        w->beheaded_ns = now_ns;
        world_complain(w, "the arbiter (pid %d) has ended, and nobody killed it",
                       (int)w->arbiter);
        fprintf(stderr, "    what happened last on all connections, in ms before:\n");
        history_print(&w->all, LAST_NOTES, now_ns, stderr);
    }
    w->arbiter = arbiter;
}

/* Moments are longer on a slow machine. */
static uint64_t moment_of(const world *w, uint64_t now_ns) {
    return now_ns / (uint64_t)(MOMENT_NS * w->slow);
}

static void note_waiting(world *w, uint64_t now_ns) {
    uint64_t moment = moment_of(w, now_ns);
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < w->peer_count; i++)
        waiting += peer_waits(&w->peers[i]);
    for (; w->moment < moment && moment - w->moment <= MOMENTS; w->moment++)
        w->waiting[(w->moment + 1) % MOMENTS] = 0;
    w->moment = moment;
    if (waiting > w->waiting[moment % MOMENTS])
        w->waiting[moment % MOMENTS] = waiting;
}

static void note_loss(world *w, uint64_t at_ns, uint32_t connections) {
    w->losses[w->losses_next++ % LOSSES] = (world_loss){at_ns, connections};
}

void world_watch(world *w, uint64_t now_ns) {
    note_waiting(w, now_ns);
    if (w->ape.kills != w->kills_seen)
        note_loss(w, w->ape.last_shot_ns, w->threads);
    w->kills_seen = w->ape.kills;
    if (w->ape.beheadings != w->beheadings_seen) {
        w->beheadings_seen = w->ape.beheadings;
        w->beheaded_ns = now_ns;
        w->arbiter = 0;
    }
    if (now_ns < w->look_ns)
        return;
    w->look_ns = now_ns + LOOK_NS;
    world_check_arbiter(w, now_ns);
}

bool world_lost_worker(const world *w, uint64_t since_ns) {
    return (w->ape.last_shot_ns != 0 && w->ape.last_shot_ns >= since_ns) ||
           w->danger_ns >= since_ns;
}

bool world_takes_credit(world *w, uint64_t since_ns) {
    for (uint32_t i = 0; i < LOSSES; i++) {
        world_loss *loss = &w->losses[i];
        if (loss->left > 0 && loss->at_ns >= since_ns) {
            loss->left--;
            return true;
        }
    }
    return false;
}

void world_expect_loss(world *w, uint64_t until_ns) {
    note_loss(w, until_ns, w->threads - 1);
    if (until_ns > w->danger_ns)
        w->danger_ns = until_ns;
}

/* -- Hang-ups
 * ---------------------------------------------------------------------------- */

void world_note_hang_up(world *w, uint64_t now_ns) {
    w->hung_up_ns[w->hung_up_next++ % HANG_UPS] = now_ns;
}

uint32_t world_most_waiting(const world *w, uint64_t now_ns) {
    uint64_t for_ns = (uint64_t)(NOTICED_NS * w->slow);
    uint32_t count = 0;
    for (uint32_t i = 0; i < MOMENTS; i++)
        count = w->waiting[i] > count ? w->waiting[i] : count;
    for (uint32_t i = 0; i < HANG_UPS; i++)
        count += w->hung_up_ns[i] != 0 && w->hung_up_ns[i] + for_ns > now_ns;
    return count;
}

/* -- What came of it
 * --------------------------------------------------------------------- */

void world_fate(world *w, const ask *a, const char *fate) {
    char text[ASK_TEXT_LEN];
    if (a->kind != ASK_NOTE || w->fates == NULL)
        return;
    ask_text(a, text);
    if (ask_is_too_late(a))
        fate = "no";
    fprintf(w->fates, "%s %s\n", text, fate);
}

void world_print_tally(const world *w, FILE *out) {
    const tally *t = &w->tally;
    fprintf(out,
            "\"connections\": %" PRIu64 ", \"asks\": %" PRIu64 ", \"refused\": %" PRIu64
            ", \"resets\": %" PRIu64 ", \"half_closes\": %" PRIu64
            ", \"hang_ups\": %" PRIu64 ", \"stalls\": %" PRIu64
            ", \"truncated\": %" PRIu64 ", \"cut_short\": %" PRIu64
            ", \"unsent\": %" PRIu64 ", \"unread\": %" PRIu64 ", \"unanswered\": %" PRIu64
            ", \"worst_late_ms\": %.1f, \"complaints\": %" PRIu64 ", \"values\": {",
            t->connections, t->asks, t->refused, t->resets, t->half_closes, t->hang_ups,
            t->stalls, t->truncated, t->cut_short, t->unsent, t->unread, t->unanswered,
            t->worst_late_ms, t->complaints);
    for (int k = 0; k < ASK_KINDS; k++)
        fprintf(out, "%s\"%s\": %" PRIu64, k > 0 ? ", " : "", ask_kind_name((ask_kind)k),
                t->values[k]);
    fprintf(out, "}, \"errors\": {");
    for (unsigned code = 1; code <= DIRTY_CODE_LAST; code++)
        fprintf(out, "%s\"%s\": %" PRIu64, code > 1 ? ", " : "", dirty_code_name(code),
                t->errors[code]);
    fprintf(out, "}");
}
