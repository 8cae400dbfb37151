/* failure: why the last call of a client failed, kept for its accessors.
 *
 * It has room of its own for what the library itself says, so that telling a failure
 * needs no memory. What a server said stays in the payload that brought it. */
#ifndef DIRTY_FAILURE_H
#define DIRTY_FAILURE_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

typedef struct dirty_failure {
    int code;            /* DIRTY_E…, 0: no failure */
    const char *started; /* "no", "yes", "unknown": static text */
    dirty_slice message; /* NUL-terminated, as is details */
    dirty_slice details; /* text of a JSON object */
    uint8_t *payload;    /* owned; of the ERROR frame that both point into, or NULL */
    char own_message[1024];
    char own_details[1536];
} dirty_failure;

void dirty_failure_init(dirty_failure *f);
void dirty_failure_deinit(dirty_failure *f);

/* Forget it. */
void dirty_failure_clear(dirty_failure *f);

/* Tell a failure in the library's own words (cut at the room there is). `started` is
 * static text. Details are "{}" until dirty_failure_describe. Returns `code`. */
int dirty_failure_set(dirty_failure *f, int code, const char *started, const char *format,
                      ...) __attribute__((format(printf, 4, 5)));

/* Give a failure of the library's own the details that the server's have: the call, phase
 * "client", started, elapsed_ms. Names are those of a request, 255 bytes at most. Does
 * nothing to a server's failure. */
void dirty_failure_describe(dirty_failure *f, dirty_slice app, dirty_slice action,
                            uint64_t elapsed_ms);

/* Take over the payload of an ERROR frame, `len` bytes with room for one more. NULL, or
 * what is wrong with it: then nothing was taken, the caller still owns it. */
const char *dirty_failure_take(dirty_failure *f, uint8_t *payload, size_t len);

#endif
