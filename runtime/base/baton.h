/* baton: decides who may write to the connection of a lane's current request.
 *
 * Each lane has one 64-bit word (seq, state). It is in a page that only the arbiter and
 * that lane's worker share. Only one process at a time may write to a connection: the
 * lane while the state is WRITING, the arbiter after it has set TAKEN. A side that loses
 * a compare-and-swap must not write. The arbiter also reads the word of a dead worker, to
 * learn how far the request got. The other fields of the page are only for status. The
 * arbiter never relies on them, because a broken app may have overwritten them.
 *
 *      arbiter: begin            lane               lane
 *   IDLE ───────────► READING ───────► RUNNING ◄───────────► WRITING
 *                        │                │                     │ terminal frame sent
 *                        └──► TAKEN ◄─────┘ arbiter          ANSWERED
 *
 * When the lane has reported its last request as done, the arbiter starts the next one
 * from IDLE, ANSWERED or TAKEN by a plain store. */
#ifndef DIRTY_BATON_H
#define DIRTY_BATON_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum dirty_baton_state {
    DIRTY_BATON_IDLE = 0,    /* no request */
    DIRTY_BATON_READING = 1, /* the lane has the request and may still read its payload */
    DIRTY_BATON_RUNNING = 2, /* the app runs */
    DIRTY_BATON_WRITING = 3, /* the lane writes a frame; framing is lost if it dies now */
    DIRTY_BATON_ANSWERED = 4, /* the lane has sent the terminal frame */
    DIRTY_BATON_TAKEN = 5     /* the arbiter answers or has answered */
} dirty_baton_state;

/* Why a running call is interrupted: a wire code of dirty_errors.h (TIMEOUT, CANCELLED,
 * MEMORY), or STACK. STACK only asks for a traceback; the call goes on. */
#define DIRTY_INTERRUPT_STACK 0x7f
/* Tells a lane to read `interrupt`. The default action is to ignore it, so it is harmless
 * where no handler is set. */
#define DIRTY_INTERRUPT_SIGNAL SIGURG
#define DIRTY_STACK_TEXT_MAX 3072

/* The step of an app's boot that a lane is in. */
typedef enum dirty_boot_phase {
    DIRTY_BOOT_NONE = 0,
    DIRTY_BOOT_LOAD = 1,
    DIRTY_BOOT_NEW = 2,
    DIRTY_BOOT_INIT = 3
} dirty_boot_phase;

typedef struct dirty_lane_page {
    _Atomic uint64_t baton;     /* seq << 8 | state */
    _Atomic uint64_t interrupt; /* arbiter: seq << 8 | reason; 0 for none */
    _Atomic uint64_t whole;     /* lane: seq of the request that it has read completely */
    _Atomic uint64_t streaming; /* lane: seq of the request whose answer it streams */
    _Atomic uint64_t lua_bytes; /* lane: size of the Lua heap after the last request */
    _Atomic uint64_t served;    /* lane: requests finished, whatever their outcome */
    _Atomic uint64_t stack_seq; /* lane: seq of the request in stack_text; set last */
    _Atomic uint32_t tid;       /* lane: its thread id; 0 before it runs */
    _Atomic uint32_t booting;   /* lane: app << 8 | dirty_boot_phase, until it is ready */
    uint32_t stack_len;
    char stack_text[DIRTY_STACK_TEXT_MAX]; /* lane: the traceback that STACK asked for */
} dirty_lane_page;

static inline uint64_t dirty_baton_word(uint64_t seq, dirty_baton_state state) {
    return seq << 8 | (uint64_t)state;
}

/* Give the baton to the lane. The arbiter calls this before it sends the request. */
static inline void dirty_baton_begin(dirty_lane_page *page, uint64_t seq) {
    atomic_store(&page->baton, dirty_baton_word(seq, DIRTY_BATON_READING));
}

/* Change the state of `seq` from `from` to `to`. False: the other side changed it first,
 * or the page is about another request. */
static inline bool dirty_baton_move(dirty_lane_page *page, uint64_t seq,
                                    dirty_baton_state from, dirty_baton_state to) {
    uint64_t expected = dirty_baton_word(seq, from);
    return atomic_compare_exchange_strong(&page->baton, &expected,
                                          dirty_baton_word(seq, to));
}

/* State of `seq`. IDLE if the page is about another request or the state is unknown. */
static inline dirty_baton_state dirty_baton_read(const dirty_lane_page *page,
                                                 uint64_t seq) {
    uint64_t word = atomic_load(&((dirty_lane_page *)(uintptr_t)page)->baton);
    uint64_t state = word & 0xff;
    if (word >> 8 != (seq & UINT64_MAX >> 8) || state > DIRTY_BATON_TAKEN)
        return DIRTY_BATON_IDLE;
    return (dirty_baton_state)state;
}

#endif
