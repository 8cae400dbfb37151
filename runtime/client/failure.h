/* failure: why the last call of a client failed, stored for its accessors.
 *
 * It has its own room for the library's messages, so that setting one needs no memory. A
 * server's texts stay in the payload that they came in. */
#ifndef DIRTY_FAILURE_H
#define DIRTY_FAILURE_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

typedef struct dirty_failure {
    int code;            /* DIRTY_E…, 0: no failure */
    const char *started; /* "no", "yes", "unknown": static text */
    dirty_slice message; /* NUL-terminated, like details */
    dirty_slice details; /* text of a JSON object */
    uint8_t *payload;    /* owned; the ERROR payload that both point into, or NULL */
    char own_message[1024];
    char own_details[1536];
} dirty_failure;

void dirty_failure_init(dirty_failure *f);
void dirty_failure_deinit(dirty_failure *f);

/* Reset to "no failure". */
void dirty_failure_clear(dirty_failure *f);

/* Set a failure with a message of the library, cut to the room. `started` is static text.
 * The details are "{}" until dirty_failure_describe. Returns `code`. */
int dirty_failure_set(dirty_failure *f, int code, const char *started, const char *format,
                      ...) __attribute__((format(printf, 4, 5)));

/* Set the details of a library failure to what the server's have: the call, phase
 * "client", started, elapsed_ms. The names are those of a request, at most 255 bytes.
 * No-op for a server's failure. */
void dirty_failure_describe(dirty_failure *f, dirty_slice app, dirty_slice action,
                            uint64_t elapsed_ms);

/* Take ownership of the payload of an ERROR frame: `len` bytes with room for one more.
 * Returns NULL; or what is wrong with it, and then the caller still owns it. */
const char *dirty_failure_take(dirty_failure *f, uint8_t *payload, size_t len);

#endif
