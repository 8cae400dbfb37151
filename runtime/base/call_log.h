/* call_log: log lines about calls. One process (an arbiter) or one lane has one.
 *
 * A failed call gets a line, but an app that fails all the time must not fill the disk:
 * of calls that fail alike one is told per interval, and the next line says how many were
 * left out. Messages are alike if they differ only in digits. Apps with ever new messages
 * are limited by a token bucket. A developer wants every one, with its traceback. */
#ifndef DIRTY_CALL_LOG_H
#define DIRTY_CALL_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/ratelimit.h"
#include "base/recent_calls.h"

#define DIRTY_CALL_LOG_KINDS 32
#define DIRTY_CALL_LOG_EVERY_MS 10000

/* Calls that failed alike. */
typedef struct dirty_call_kind {
    uint64_t key;    /* of app, code and message; 0: the entry is free */
    uint64_t due_ns; /* when the next line may come */
    uint64_t left_out;
    dirty_log_level level;
    const char *code; /* static */
    char app[128];    /* cut; empty: none was found */
} dirty_call_kind;

/* Zeroed memory is an empty one. */
typedef struct dirty_call_log {
    bool every; /* no limits, and tracebacks at each level */
    dirty_call_kind kinds[DIRTY_CALL_LOG_KINDS];
    dirty_call_kind others; /* calls of kinds that had to make room */
    dirty_bucket lines;
} dirty_call_log;

/* What is said of a code. */
typedef struct dirty_call_words {
    const char *code; /* its name; static */
    dirty_log_level level;
    bool by_message; /* calls with different messages are not alike */
} dirty_call_words;

/* Tell of a failed call, or count it. The traceback is told at the level debug, or if
 * every call is told. */
void dirty_call_log_failed(dirty_call_log *log, const dirty_recent_facts *f,
                           const dirty_call_words *words);

/* Tell how many were left out, of kinds whose interval is over; `all`: of all kinds. */
void dirty_call_log_flush(dirty_call_log *log, bool all);

/* Tell of a call that ended, failed or not, for the access log. `code` is "OK" or the
 * name of an error code. */
void dirty_call_log_access(const dirty_recent_facts *f, const char *code);

#endif
