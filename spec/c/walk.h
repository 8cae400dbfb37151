/* walk: one message through all of the wire's decoders and back, as arbiter, lane and
 * client together would do it. For the tests of the wire and its fuzzer. */
#ifndef DIRTY_SPEC_WALK_H
#define DIRTY_SPEC_WALK_H

#include <stdbool.h>

#include "wire/frame.h"
#include "wire/request.h"
#include "wire/value.h"

#define WALK_VALUES_MAX 512

typedef struct walk_limits {
    bool server; /* a REQUEST is expected, else an answer */
    uint32_t max_message, max_args;
} walk_limits;

/* The defaults of the options. */
walk_limits walk_defaults(bool server);

/* What a message says; slices are borrowed from the bytes that were walked. */
typedef struct walked {
    dirty_frame frame;
    dirty_route route;    /* REQUEST */
    dirty_slice metadata; /* REQUEST, base NULL if there is none */
    dirty_error error;    /* ERROR */
    size_t count;         /* REQUEST, RESPONSE, CHUNK */
    dirty_value values[WALK_VALUES_MAX];
} walked;

/* OK with `out` set, MORE while the bytes are the start of a message, or a fault.
 * max_args is at most WALK_VALUES_MAX. */
dirty_wire_fault walk(const uint8_t *bytes, size_t len, const walk_limits *limits,
                      walked *out);

/* Append the message again. */
void walk_encode(const walked *w, dirty_buf *out);

/* Do all slices lie within these bytes? */
bool walk_is_inside(const walked *w, const uint8_t *bytes, size_t len);

/* Would the wire itself have written the message byte for byte so? */
bool walk_is_canonical(const walked *w, const uint8_t *bytes);

#endif
