/* call: one kind of request of the load generator, and the check of its answers.
 *
 * Made from a spec: ACTION[:NUMBER][*WEIGHT]
 *   noop              no argument, the answer is nil
 *   echo:BYTES        that many bytes, which come back
 *   length:BYTES      that many bytes, the answer is their number
 *   sleep:MS, spin:MS, any other with or without a number: any RESPONSE will do
 *
 * Requests of a kind are the same but for their first bytes: the id in the header and
 * the first bytes of the argument, which carry the id as well, so that an answer with
 * somebody else's payload is seen. Those first bytes, the head, belong to the connection;
 * the rest is shared by all. */
#ifndef BENCH_CALL_H
#define BENCH_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/histogram.h"
#include "wire/request.h"

#define BENCH_STAMP_LEN 8
#define BENCH_REQUEST_HEAD_MAX \
    (DIRTY_FRAME_HEADER_LEN + DIRTY_ROUTE_MAX + DIRTY_VALUE_HEAD_LEN + BENCH_STAMP_LEN)
#define BENCH_ANSWER_HEAD \
    (DIRTY_FRAME_HEADER_LEN + 2 + DIRTY_VALUE_HEAD_LEN + BENCH_STAMP_LEN)

typedef struct bench_call {
    const char *spec; /* borrowed for good */
    unsigned weight;
    uint8_t *request; /* owned; the whole frame with id 0 */
    size_t request_len, request_head, stamp_at;
    uint8_t *answer; /* owned; the whole frame with id 0. NULL: any RESPONSE is right */
    size_t answer_len;
    size_t stamp_len;    /* bytes of the id in the argument; 0: no argument to stamp */
    bool answer_stamped; /* the argument comes back */
    bench_histogram latency;
} bench_call;

/* Parse `spec` and build the frames. `budget_ms` goes into the requests. Exits with a
 * message for a spec that is none. */
void bench_call_init(bench_call *c, const char *app, const char *spec,
                     uint32_t budget_ms);
void bench_call_deinit(bench_call *c);

/* The head of the request with `id`: c->request_head bytes. */
void bench_call_head(const bench_call *c, uint64_t id,
                     uint8_t out[BENCH_REQUEST_HEAD_MAX]);

/* Whether `len` bytes received at `offset` of an answer to `id` are right. The header
 * is the caller's to check. Short answers are compared whole. Of long ones the first and
 * the last bytes and 64 in every 4096 are, so that the check does not outweigh the work
 * that is measured. */
bool bench_call_matches(const bench_call *c, uint64_t id, size_t offset,
                        const uint8_t *bytes, size_t len);

#endif
