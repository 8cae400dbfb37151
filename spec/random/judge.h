/* judge: what docs/protocol.md lets a server answer to an ask, and when. */
#ifndef RANDOM_JUDGE_H
#define RANDOM_JUDGE_H

#include "spec/random/world.h"
#include "wire/frame.h"

typedef enum verdict_of_frame {
    FRAME_WRONG, /* it must never come */
    FRAME_MORE,  /* right, and another has to follow */
    FRAME_KEEPS, /* the ask is answered, the connection goes on */
    FRAME_MAY_END,
    FRAME_ENDS /* the ask is answered, no byte may follow */
} verdict_of_frame;

/* What an answer is judged by. */
typedef struct question {
    world *w;
    ask *a;
    uint64_t now_ns;
    uint64_t since_ns;   /* when the server may have begun with it, at the earliest */
    bool shut;           /* we have shut down our sending side */
    bool outcome_is_set; /* by the judge: `code` holds */
    dirty_code code;     /* of an error, 0: a value */
    bool late;           /* so was the answer */
    const char *started; /* of an error: "no", "yes", "unknown" */
} question;

/* Look at one whole frame. For FRAME_WRONG, `why` (of `size` bytes) says what is wrong.
 */
verdict_of_frame judge(question *q, const dirty_frame *frame, const uint8_t *payload,
                       char *why, size_t size);

#endif
