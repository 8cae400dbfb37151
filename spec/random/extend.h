/* extend: puts a block of extensions into a request: deadlines, and types that nobody
 * knows. */
#ifndef RANDOM_EXTEND_H
#define RANDOM_EXTEND_H

#include "spec/random/ask.h"

/* Choose a block that keeps the rules, or none, and put it into the frame. */
void extend(ask *a, uint64_t *rng);

/* Put in a block that breaks one of the rules. Returns what the server has to say to it.
 */
dirty_wire_fault extend_badly(ask *a, uint64_t *rng);

/* The first byte is about to be sent: the deadline is so much later. */
void extend_set_deadline(ask *a, uint64_t now_ns);

#endif
