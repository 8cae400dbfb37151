/* board: who may read from and write to each shared connection.
 *
 * A shared connection is one that idle lanes may take themselves (docs/design.md). The
 * arbiter and all lanes that serve shared connections map the board. It has a word for
 * each connection, by its slot:
 *
 *   owner (18 bits) | MORE (1) | ticket (24) | served (21)
 *
 * Owner is nobody, the arbiter or a lane. Who has swapped itself in as owner may read
 * from and write to the connection. Who gets an event for a connection that has an owner
 * sets MORE, in the same swap that finds the owner. So the owner can't let go without
 * having seen MORE, and looks at the connection again. The ticket tells the connections
 * of one slot apart. `served` changes with each request, so that the arbiter can see
 * progress.
 *
 * Apps run in lanes, so a broken app can write to the board. Whoever reads it checks it:
 * a contradiction costs the connection and never memory. */
#ifndef DIRTY_BOARD_H
#define DIRTY_BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define DIRTY_BOARD_NOBODY 0u
#define DIRTY_BOARD_ARBITER 1u
/* The lane with the id n is owner DIRTY_BOARD_LANE + n. */
#define DIRTY_BOARD_LANE 2u
#define DIRTY_BOARD_LANES_MAX 4096u

#define DIRTY_BOARD_OWNER_MASK 0x3ffffu
#define DIRTY_BOARD_MORE (1ull << 18)
#define DIRTY_BOARD_TICKET_SHIFT 19
#define DIRTY_BOARD_TICKET_MASK 0xffffffu
#define DIRTY_BOARD_SERVED_ONE (1ull << 43)

typedef struct dirty_board {
    _Atomic uint32_t
        shared_count;            /* arbiter: shared connections; 0: don't wait for any */
    _Atomic uint64_t alive_ns;   /* arbiter: when it was last seen to run */
    _Atomic uint32_t bell_armed; /* arbiter: 1 if it wants to know when no lane waits */
    /* A bit for each lane that waits for shared connections. A hint for the bell. */
    _Atomic uint64_t waiting[DIRTY_BOARD_LANES_MAX / 64];
    _Atomic uint64_t words[]; /* slot_count */
} dirty_board;

/* Map a board with guard pages around it. Children inherit it. NULL: no memory. */
dirty_board *dirty_board_open(uint32_t slot_count);
void dirty_board_close(dirty_board *board, uint32_t slot_count);

static inline uint32_t dirty_board_owner(uint64_t word) {
    return (uint32_t)(word & DIRTY_BOARD_OWNER_MASK);
}

static inline uint32_t dirty_board_ticket(uint64_t word) {
    return (uint32_t)(word >> DIRTY_BOARD_TICKET_SHIFT) & DIRTY_BOARD_TICKET_MASK;
}

/* A free word with this ticket. */
static inline uint64_t dirty_board_word(uint32_t ticket) {
    return (uint64_t)(ticket & DIRTY_BOARD_TICKET_MASK) << DIRTY_BOARD_TICKET_SHIFT;
}

typedef enum dirty_board_result {
    DIRTY_BOARD_DONE,  /* taken: it is ours; released: it is free */
    DIRTY_BOARD_BUSY,  /* take: it has an owner, which will look again because of us */
    DIRTY_BOARD_AGAIN, /* release: MORE was set; it is still ours: look again */
    DIRTY_BOARD_STALE  /* the word is about another connection, or not ours */
} dirty_board_result;

/* Take a free connection for `me`. Returns DONE, BUSY or STALE. */
static inline dirty_board_result dirty_board_take(_Atomic uint64_t *at, uint32_t ticket,
                                                  uint32_t me) {
    uint64_t word = atomic_load(at);
    for (;;) {
        bool is_free = dirty_board_owner(word) == DIRTY_BOARD_NOBODY;
        if (dirty_board_ticket(word) != ticket)
            return DIRTY_BOARD_STALE;
        if (atomic_compare_exchange_weak(at, &word,
                                         is_free ? word | me : word | DIRTY_BOARD_MORE))
            return is_free ? DIRTY_BOARD_DONE : DIRTY_BOARD_BUSY;
    }
}

/* The same, but leave a word with an owner as it is. True: it is ours. */
static inline bool dirty_board_take_free(_Atomic uint64_t *at, uint32_t ticket,
                                         uint32_t me) {
    uint64_t word = atomic_load(at);
    while (dirty_board_ticket(word) == ticket &&
           dirty_board_owner(word) == DIRTY_BOARD_NOBODY)
        if (atomic_compare_exchange_weak(at, &word, word | me))
            return true;
    return false;
}

/* Let go of the connection after `served` (0 or 1) requests. Returns DONE, AGAIN or
 * STALE. */
static inline dirty_board_result
dirty_board_release(_Atomic uint64_t *at, uint32_t ticket, uint32_t me, uint32_t served) {
    uint64_t word = atomic_load(at);
    for (;;) {
        bool more = (word & DIRTY_BOARD_MORE) != 0;
        uint64_t next = (word & ~DIRTY_BOARD_MORE) + served * DIRTY_BOARD_SERVED_ONE;
        if (dirty_board_ticket(word) != ticket || dirty_board_owner(word) != me)
            return DIRTY_BOARD_STALE;
        if (!more)
            next &= ~(uint64_t)DIRTY_BOARD_OWNER_MASK;
        if (atomic_compare_exchange_weak(at, &word, next))
            return more ? DIRTY_BOARD_AGAIN : DIRTY_BOARD_DONE;
    }
}

#endif
