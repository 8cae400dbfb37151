#include "spec/chaos/tally.h"

#define COMPLAINTS_MAX 20

static const char *const names[OUTCOMES] = {
    [OUTCOME_VALUE] = "value",
    [OUTCOME_APP] = "APP",
    [OUTCOME_TIMEOUT_QUEUE] = "TIMEOUT in the queue",
    [OUTCOME_TIMEOUT_RUN] = "TIMEOUT while it ran",
    [OUTCOME_LOST_UNSTARTED] = "WORKER_LOST before it ran",
    [OUTCOME_LOST_RUNNING] = "WORKER_LOST while it ran",
    [OUTCOME_NO_WORKERS] = "NO_WORKERS",
    [OUTCOME_ENDED] = "connection ended",
    [OUTCOME_LEFT] = "caller left",
    [OUTCOME_FAULTY] = "faulty",
};

/* May the app have run? "once": it has, "no": it has not, "maybe". */
static const char *ran(outcome what, const call_error *error) {
    if (what == OUTCOME_VALUE)
        return "once";
    return error != NULL && error->started[0] == 'n' ? "no" : "maybe";
}

void tally_count(tally *t, const call *c, outcome what, const call_error *error) {
    t->calls[c->kind][what]++;
    t->ended++;
    if (c->kind == CALL_ONCE && t->once != NULL)
        fprintf(t->once, "%016llx %s\n", (unsigned long long)c->seed, ran(what, error));
}

void tally_complain(const tally *t, const call *c, const char *what, const char *why) {
    if (t->wrong + t->lost + t->hung + t->late <= COMPLAINTS_MAX)
        fprintf(stderr, "%s: %s %016llx (budget %u ms): %s\n", what,
                call_kind_name(c->kind), (unsigned long long)c->id, c->budget_ms, why);
}

bool tally_is_clean(const tally *t) {
    return t->wrong + t->lost + t->hung + t->late == 0;
}

void tally_print(const tally *t, FILE *out) {
    uint64_t sums[OUTCOMES] = {0}, all = 0;
    fprintf(out, "\"kinds\": {");
    for (int k = 0; k < CALL_KINDS; k++) {
        fprintf(out, "%s\"%s\": {", k ? ", " : "", call_kind_name((call_kind)k));
        const char *comma = "";
        for (int o = 0; o < OUTCOMES; o++) {
            sums[o] += t->calls[k][o];
            if (t->calls[k][o] == 0)
                continue;
            fprintf(out, "%s\"%s\": %llu", comma, names[o],
                    (unsigned long long)t->calls[k][o]);
            comma = ", ";
        }
        fprintf(out, "}");
    }
    fprintf(out, "}, \"outcomes\": {");
    for (int o = 0; o < OUTCOMES; o++) {
        all += sums[o];
        fprintf(out, "%s\"%s\": %llu", o ? ", " : "", names[o],
                (unsigned long long)sums[o]);
    }
    fprintf(out,
            "}, \"calls\": %llu, \"wrong\": %llu, \"lost\": %llu, \"hung\": %llu, "
            "\"late\": %llu, \"resent\": %llu, \"worst_late_ms\": %.1f",
            (unsigned long long)all, (unsigned long long)t->wrong,
            (unsigned long long)t->lost, (unsigned long long)t->hung,
            (unsigned long long)t->late, (unsigned long long)t->resent, t->worst_late_ms);
}
