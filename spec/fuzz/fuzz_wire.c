/* fuzz_wire: any bytes through all of the wire's decoders. Beside what the sanitizers
 * see, it holds that
 *   - decoded slices lie inside the message, and not in what follows it,
 *   - a message says the same whatever follows it,
 *   - the start of a message is MORE or has the fault of the whole, never another,
 *   - what was read is written again byte for byte, if it is what we write. */
#include <stdlib.h>
#include <string.h>

#include "../c/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
    if (!holds)
        abort();
}

static void check_written_again(const walked *w, const uint8_t *message, size_t len) {
    if (!walk_is_canonical(w, message))
        return;
    dirty_buf again = {0};
    walk_encode(w, &again);
    require(again.len == len && memcmp(again.base, message, len) == 0);
    dirty_buf_deinit(&again);
}

/* The first `len` bytes, in memory of their own. */
static dirty_wire_fault fault_of_start(const uint8_t *data, size_t len,
                                       const walk_limits *limits) {
    static walked w;
    uint8_t *start = malloc(len ? len : 1);
    if (start == NULL)
        abort();
    memcpy(start, data, len);
    dirty_wire_fault fault = walk(start, len, limits, &w);
    free(start);
    return fault;
}

static void check(const uint8_t *data, size_t size, const walk_limits *limits) {
    static walked w;
    dirty_wire_fault fault = walk(data, size, limits, &w);
    require(fault <= DIRTY_WIRE_MORE && fault >= DIRTY_WIRE_FAULT_LAST);
    require(*dirty_wire_fault_text(fault) != '\0');
    /* a cut in a place that depends on the input, so that the fuzzer can choose it */
    size_t cut = size ? data[size - 1] % size : 0;
    if (fault == DIRTY_WIRE_OK) {
        size_t len = DIRTY_FRAME_HEADER_LEN + w.frame.payload_len;
        require(w.frame.payload_len <= limits->max_message ||
                w.frame.type == DIRTY_FRAME_ERROR);
        require(w.count <= limits->max_args);
        require(walk_is_inside(&w, data, len));
        check_written_again(&w, data, len);
        require(fault_of_start(data, len, limits) == DIRTY_WIRE_OK);
        cut %= len;
    }
    dirty_wire_fault of_start = fault_of_start(data, cut, limits);
    require(of_start == DIRTY_WIRE_MORE || (of_start == fault && fault < 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int server = 0; server <= 1; server++) {
        walk_limits limits = walk_defaults(server);
        check(data, size, &limits);
        limits.max_message = 64;
        limits.max_args = 2;
        check(data, size, &limits);
    }
    return 0;
}
