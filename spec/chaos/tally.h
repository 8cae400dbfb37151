/* tally: what became of the calls, counted by kind and outcome, and what was not right.
 *
 *   wrong   an answer that is not for this call, a second one, one too early, or an error
 *           that nothing explains
 *   lost    the connection ended without an answer and nobody was killed
 *   hung    no answer long after the deadline
 *   late    an answer after deadline, grace and margin */
#ifndef CHAOS_TALLY_H
#define CHAOS_TALLY_H

#include <stdint.h>
#include <stdio.h>

#include "spec/chaos/call.h"

typedef enum outcome {
    OUTCOME_VALUE,
    OUTCOME_APP,
    OUTCOME_TIMEOUT_QUEUE, /* it waited too long: not started */
    OUTCOME_TIMEOUT_RUN,
    OUTCOME_LOST_UNSTARTED, /* WORKER_LOST, before the app ran */
    OUTCOME_LOST_RUNNING,   /* WORKER_LOST, while it ran */
    OUTCOME_NO_WORKERS,
    OUTCOME_ENDED,  /* the connection, when somebody was killed */
    OUTCOME_LEFT,   /* the caller hung up */
    OUTCOME_FAULTY, /* wrong, lost or hung */
    OUTCOMES
} outcome;

typedef struct tally {
    uint64_t calls[CALL_KINDS][OUTCOMES];
    uint64_t ended; /* all of them */
    uint64_t wrong, lost, hung, late, resent;
    double worst_late_ms; /* the most that an answer came after its deadline */
    FILE *once;           /* the fate of each CALL_ONCE, a line each; NULL: not noted */
} tally;

/* Count a call that has ended. `error` NULL: there was none. */
void tally_count(tally *t, const call *c, outcome what, const call_error *error);

/* Say on stderr what is not right, for the first few of a run. */
void tally_complain(const tally *t, const call *c, const char *what, const char *why);

/* Has nothing gone wrong? */
bool tally_is_clean(const tally *t);

/* The members "calls", "outcomes", "wrong", … of a JSON object, without its braces. */
void tally_print(const tally *t, FILE *out);

#endif
