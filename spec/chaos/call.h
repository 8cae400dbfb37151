/* call: one request of the chaos test, and what a right answer to it is.
 *
 * Everything about a call follows from its seed: which action it is for, its arguments
 * and so the only answer that is right. An answer that belongs to another call, or to
 * none, is told by its id or by its payload. */
#ifndef CHAOS_CALL_H
#define CHAOS_CALL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "wire/code.h"
#include "wire/frame.h"

typedef enum call_kind {
    CALL_NOOP,
    CALL_SMALL, /* echo of up to 2000 bytes */
    CALL_LARGE, /* echo of 1 MB */
    CALL_SLEEP,
    CALL_FAIL,  /* raises a text of its own */
    CALL_SPIN,  /* longer than its budget: TIMEOUT is right */
    CALL_COUNT, /* a stream */
    CALL_ONCE,  /* writes its id to a file, which shows how often it ran */
    CALL_BROOD, /* starts a child process that outlives the call */
    CALL_LEAVE, /* hangs up before its answer can be there */
    CALL_KINDS
} call_kind;

typedef struct call {
    call_kind kind;
    uint64_t id;
    uint64_t seed;      /* of the payload */
    uint32_t number;    /* bytes, milliseconds or chunks, by kind */
    uint32_t budget_ms; /* sent with it */
    uint32_t chunks;    /* that have come */
} call;

typedef enum verdict {
    VERDICT_MORE,  /* a right frame, and another has to follow */
    VERDICT_VALUE, /* the right answer, whole */
    VERDICT_ERROR, /* an error, told in call_error */
    VERDICT_WRONG  /* an answer that this call must never get */
} verdict;

typedef struct call_error {
    dirty_code code;
    char phase[16];   /* "" if it says none */
    char started[16]; /* "no", "yes", "unknown" */
    pid_t worker;     /* details.pid: the worker that was lost, 0: none */
    bool ours;        /* details.killed_by_runtime */
    bool own_words;   /* the message ends with the text that the call gave */
} call_error;

/* The next number of a xorshift generator; `seed` must not be 0. */
uint64_t chaos_random(uint64_t *seed);

/* Choose a call by the generator `seed`, by the weight of each kind in `weights`. */
void call_pick(call *c, uint64_t *seed, const unsigned weights[CALL_KINDS]);

/* The whole request frame, into `out` instead of what is there. */
void call_encode(const call *c, dirty_buf *out);

/* Look at one whole frame. For VERDICT_ERROR *error is filled; for VERDICT_WRONG *why
 * says what is wrong, static text. */
verdict call_judge(call *c, const dirty_frame *frame, const uint8_t *payload,
                   call_error *error, const char **why);

const char *call_kind_name(call_kind kind);

#endif
