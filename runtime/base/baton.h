/* baton: who may write to the connection of a lane's current request.
 *
 * One 64-bit word (seq, state) per lane, in a page shared by the arbiter and that lane's
 * worker alone. Exactly one process at a time may write to a connection: the lane while
 * it is in WRITING, the arbiter once it has won TAKEN. A side that loses a swap keeps
 * its hands off. The arbiter also reads the word of a dead worker to learn how far the
 * request came. What else lies in the page is for status only. The arbiter trusts
 * nothing in it: a broken app may have written there.
 *
 *      arbiter: begin            lane               lane
 *   IDLE ───────────► READING ───────► RUNNING ◄───────────► WRITING
 *                        │                │                     │ terminal frame sent
 *                        └──► TAKEN ◄─────┘ arbiter          ANSWERED
 *
 * The arbiter starts the next request from IDLE, ANSWERED or TAKEN by a plain store,
 * when the lane has reported the last one done. */
#ifndef DIRTY_BATON_H
#define DIRTY_BATON_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum dirty_baton_state {
    DIRTY_BATON_IDLE = 0,    /* no request */
    DIRTY_BATON_READING = 1, /* given to the lane, which may still read the payload */
    DIRTY_BATON_RUNNING = 2, /* the app runs */
    DIRTY_BATON_WRITING = 3, /* the lane writes a frame: framing is lost if it dies now */
    DIRTY_BATON_ANSWERED = 4, /* the terminal frame is sent */
    DIRTY_BATON_TAKEN = 5     /* the arbiter answers, or has */
} dirty_baton_state;

/* Why a running call is interrupted: a wire code (dirty_errors.h: TIMEOUT, CANCELLED,
 * MEMORY), or STACK: the call is only asked where it is, and goes on. */
#define DIRTY_INTERRUPT_STACK 0x7f
/* The signal that tells a lane to look at `interrupt`; ignored where nobody handles it.
 */
#define DIRTY_INTERRUPT_SIGNAL SIGURG
#define DIRTY_STACK_TEXT_MAX 3072

/* What a lane does with the app that it makes. */
typedef enum dirty_boot_phase {
    DIRTY_BOOT_NONE = 0,
    DIRTY_BOOT_LOAD = 1,
    DIRTY_BOOT_NEW = 2,
    DIRTY_BOOT_INIT = 3
} dirty_boot_phase;

typedef struct dirty_lane_page {
    _Atomic uint64_t baton;     /* seq << 8 | state */
    _Atomic uint64_t interrupt; /* arbiter: seq << 8 | reason; 0 for none */
    _Atomic uint64_t whole;     /* lane: seq of the request that it has read to its end */
    _Atomic uint64_t streaming; /* lane: seq of the request that streams its answer */
    _Atomic uint64_t lua_bytes; /* lane: Lua heap after the last request */
    _Atomic uint64_t served;    /* lane: requests finished, whatever their outcome */
    _Atomic uint64_t stack_seq; /* lane: request that stack_text is of, set after it */
    _Atomic uint32_t tid;       /* lane: its thread id, 0 until it runs */
    _Atomic uint32_t booting;   /* lane: app << 8 | dirty_boot_phase, until it is ready */
    uint32_t stack_len;
    char stack_text[DIRTY_STACK_TEXT_MAX]; /* lane: the traceback that STACK asked for */
} dirty_lane_page;

static inline uint64_t dirty_baton_word(uint64_t seq, dirty_baton_state state) {
    return seq << 8 | (uint64_t)state;
}

/* The arbiter, before it sends the request to the lane. */
static inline void dirty_baton_begin(dirty_lane_page *page, uint64_t seq) {
    atomic_store(&page->baton, dirty_baton_word(seq, DIRTY_BATON_READING));
}

/* Go from one state of `seq` to another; false: the other side was first, or the page
 * speaks of another request. */
static inline bool dirty_baton_move(dirty_lane_page *page, uint64_t seq,
                                    dirty_baton_state from, dirty_baton_state to) {
    uint64_t expected = dirty_baton_word(seq, from);
    return atomic_compare_exchange_strong(&page->baton, &expected,
                                          dirty_baton_word(seq, to));
}

/* State of `seq`; IDLE if the page speaks of another request or of nothing known. */
static inline dirty_baton_state dirty_baton_read(const dirty_lane_page *page,
                                                 uint64_t seq) {
    uint64_t word = atomic_load(&((dirty_lane_page *)(uintptr_t)page)->baton);
    uint64_t state = word & 0xff;
    if (word >> 8 != (seq & UINT64_MAX >> 8) || state > DIRTY_BATON_TAKEN)
        return DIRTY_BATON_IDLE;
    return (dirty_baton_state)state;
}

#endif
