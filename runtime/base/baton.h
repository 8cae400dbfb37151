/* baton: decides who may write to the connection of a lane's current request.
 *
 * Each lane has one 64-bit word (seq, report, state). It is in a page that only the
 * arbiter and that lane's worker share. Only one process at a time may write to a
 * connection: the lane while the state is WRITING, the arbiter after it has set TAKEN. A
 * side that loses a compare-and-swap must not write. The arbiter also reads the word of a
 * dead worker, to learn how far the request got.
 *
 *      either side: begin        lane               lane
 *   IDLE ───────────► READING ───────► RUNNING ◄───────────► WRITING
 *    ▲                   │                │                     │ terminal frame sent
 *    │ lane              └──► TAKEN ◄─────┘ arbiter          ANSWERED
 *    └───────────────────────────┴──────── FREE ◄───────────────┘
 *
 * A request begins in two ways. The arbiter sends one to the lane, or a lane that serves
 * shared connections (base/board.h) takes one itself. Both swap IDLE(s) or FREE(s) for
 * READING(s + 1), so only one of them succeeds. Only the lane goes back to these (and
 * the arbiter, if it could not send the request). FREE tells the arbiter of a dead worker
 * that the last request was answered.
 *
 * The bit REPORT says that the arbiter knows of the request and waits for its DONE. It is
 * set from the start in a request that the arbiter sent. The arbiter sets it later to
 * adopt a request that the lane took itself. */
#ifndef DIRTY_BATON_H
#define DIRTY_BATON_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/recent_calls.h"

typedef enum dirty_baton_state {
    DIRTY_BATON_IDLE = 0,    /* no request */
    DIRTY_BATON_READING = 1, /* the lane has the request and may still read its payload */
    DIRTY_BATON_RUNNING = 2, /* the app runs */
    DIRTY_BATON_WRITING = 3, /* the lane writes a frame; framing is lost if it dies now */
    DIRTY_BATON_ANSWERED = 4, /* the lane has sent the terminal frame */
    DIRTY_BATON_TAKEN = 5,    /* the arbiter answers or has answered */
    DIRTY_BATON_FREE = 6      /* no request; the lane has answered the last one */
} dirty_baton_state;

/* Why a running call is interrupted: a wire code of dirty_errors.h (TIMEOUT, CANCELLED,
 * MEMORY), or STACK. STACK only asks for a traceback; the call goes on. */
#define DIRTY_INTERRUPT_STACK 0x7f
/* Tells a lane to read `interrupt`. The default action is to ignore it, so it is harmless
 * where no handler is set. */
#define DIRTY_INTERRUPT_SIGNAL SIGURG
/* Wakes a lane that waits for shared connections: there is a message for it. It is
 * blocked except while the lane waits, so it can't be lost. */
#define DIRTY_WAKE_SIGNAL (SIGRTMIN + 6)
#define DIRTY_STACK_TEXT_MAX 3072

/* The step of an app's boot that a lane is in. */
typedef enum dirty_boot_phase {
    DIRTY_BOOT_NONE = 0,
    DIRTY_BOOT_LOAD = 1,
    DIRTY_BOOT_NEW = 2,
    DIRTY_BOOT_INIT = 3
} dirty_boot_phase;

/* How much of a request a lane receives from a shared connection. A longer one goes to
 * the arbiter. */
#define DIRTY_DIRECT_BYTES_MAX 8192
/* The first bytes of `head` are zeroed before each receive. While they are zero, nothing
 * was received: no frame begins with zeros. */
#define DIRTY_DIRECT_MARK_BYTES 16

/* Except for the baton, the arbiter uses the fields for status, and to learn what a lane
 * has taken. It checks them, because a broken app may have overwritten them. */
typedef struct dirty_lane_page {
    _Atomic uint64_t baton;     /* seq << 8 | report << 7 | state */
    _Atomic uint64_t interrupt; /* arbiter: seq << 8 | reason; 0 for none */
    _Atomic uint64_t whole;     /* lane: seq of the request that it has read completely */
    _Atomic uint64_t streaming; /* lane: seq of the request whose answer it streams */
    _Atomic uint64_t lua_bytes; /* lane: size of the Lua heap after the last request */
    _Atomic uint64_t served;    /* lane: requests finished, whatever their outcome */
    _Atomic uint64_t counted;   /* lane: seq of the request that it counted last */
    _Atomic uint64_t direct;    /* lane: requests finished that it took itself */
    _Atomic uint64_t starved;   /* lane: requests that ended with MEMORY */
    _Atomic uint64_t stack_seq; /* lane: seq of the request in stack_text; set last */
    _Atomic uint32_t tid;       /* lane: its thread id; 0 before it runs */
    _Atomic uint32_t booting;   /* lane: app << 8 | dirty_boot_phase, until it is ready */
    /* For a lane that serves shared connections. */
    _Atomic uint32_t sent;        /* arbiter: messages sent on the channel so far */
    _Atomic uint32_t wanted;      /* arbiter: 1 if a waiting request needs this lane */
    _Atomic uint32_t asleep;      /* lane: 1 while it waits for shared connections */
    _Atomic uint64_t connection;  /* lane: ticket << 32 | slot of the one it has taken */
    _Atomic uint64_t received_ns; /* lane: when it received the request in `head` */
    _Atomic uint32_t received;    /* lane: bytes in `head`; 0 until they and the time are
                                     there */
    uint32_t stack_len;
    char stack_text[DIRTY_STACK_TEXT_MAX]; /* lane: the traceback that STACK asked for */
    uint8_t head[DIRTY_DIRECT_BYTES_MAX]; /* lane: the request that it has taken itself */
    dirty_recent_calls recent;            /* lane: its last failed and slow calls */
} dirty_lane_page;

#define DIRTY_BATON_REPORT 0x80u

static inline uint64_t dirty_baton_word(uint64_t seq, dirty_baton_state state) {
    return seq << 8 | (uint64_t)state;
}

static inline uint64_t dirty_baton_seq(uint64_t word) {
    return word >> 8;
}

/* State in a word. IDLE if it has a state that does not exist. */
static inline dirty_baton_state dirty_baton_state_of(uint64_t word) {
    uint64_t state = word & (DIRTY_BATON_REPORT - 1);
    return state > DIRTY_BATON_FREE ? DIRTY_BATON_IDLE : (dirty_baton_state)state;
}

/* Does a lane with this word have no request? */
static inline bool dirty_baton_is_idle(uint64_t word) {
    dirty_baton_state state = dirty_baton_state_of(word);
    return state == DIRTY_BATON_IDLE || state == DIRTY_BATON_FREE;
}

static inline bool dirty_baton_is_answered(dirty_baton_state state) {
    return state == DIRTY_BATON_ANSWERED || state == DIRTY_BATON_FREE;
}

static inline uint64_t dirty_baton_load(const dirty_lane_page *page) {
    return atomic_load(&((dirty_lane_page *)(uintptr_t)page)->baton);
}

/* Begin a request on a lane that takes none itself. The arbiter calls this before it
 * sends the request. Whatever an app may have written into the page, the lane gets it. */
static inline void dirty_baton_begin(dirty_lane_page *page, uint64_t seq) {
    atomic_store(&page->baton,
                 dirty_baton_word(seq, DIRTY_BATON_READING) | DIRTY_BATON_REPORT);
}

/* Begin the next request, if the lane is idle. `report`: 0 (the lane takes it itself) or
 * DIRTY_BATON_REPORT (the arbiter sends it). False: the lane is not idle any more. */
static inline bool dirty_baton_claim(dirty_lane_page *page, uint64_t report,
                                     uint64_t *seq) {
    uint64_t word = atomic_load(&page->baton);
    uint64_t next = dirty_baton_seq(word) + 1;
    if (!dirty_baton_is_idle(word) ||
        !atomic_compare_exchange_strong(
            &page->baton, &word, dirty_baton_word(next, DIRTY_BATON_READING) | report))
        return false;
    *seq = next;
    return true;
}

/* Change the state of `seq` from `from` to `to`. False: the other side changed it first,
 * or the page is about another request. */
static inline bool dirty_baton_move(dirty_lane_page *page, uint64_t seq,
                                    dirty_baton_state from, dirty_baton_state to) {
    uint64_t word = dirty_baton_word(seq, from); /* the common case: try it first */
    if (atomic_compare_exchange_strong(&page->baton, &word, dirty_baton_word(seq, to)))
        return true;
    while ((word & ~(uint64_t)DIRTY_BATON_REPORT) == dirty_baton_word(seq, from))
        if (atomic_compare_exchange_strong(&page->baton, &word,
                                           dirty_baton_word(seq, to) |
                                               (word & DIRTY_BATON_REPORT)))
            return true;
    return false;
}

/* Adopt a request that the lane took itself and has not answered: it will report DONE.
 * False: it has answered, or the request is another one. */
static inline bool dirty_baton_adopt(dirty_lane_page *page, uint64_t seq) {
    uint64_t word = atomic_load(&page->baton);
    for (;;) {
        dirty_baton_state state = dirty_baton_state_of(word);
        if (dirty_baton_seq(word) != seq || (word & DIRTY_BATON_REPORT) != 0 ||
            (state != DIRTY_BATON_READING && state != DIRTY_BATON_RUNNING &&
             state != DIRTY_BATON_WRITING))
            return false;
        if (atomic_compare_exchange_strong(&page->baton, &word,
                                           word | DIRTY_BATON_REPORT))
            return true;
    }
}

/* Does the arbiter wait for DONE of `seq`? Once the request is answered, the result can't
 * change. */
static inline bool dirty_baton_is_reported(const dirty_lane_page *page, uint64_t seq) {
    uint64_t word = dirty_baton_load(page);
    return dirty_baton_seq(word) == seq && (word & DIRTY_BATON_REPORT) != 0;
}

/* End a request: the lane is idle. True: the arbiter waits for DONE. */
static inline bool dirty_baton_end(dirty_lane_page *page, uint64_t seq) {
    uint64_t word = atomic_load(&page->baton);
    dirty_baton_state end;
    do
        end = dirty_baton_is_answered(dirty_baton_state_of(word)) ? DIRTY_BATON_FREE
                                                                  : DIRTY_BATON_IDLE;
    while (
        !atomic_compare_exchange_weak(&page->baton, &word, dirty_baton_word(seq, end)));
    return (word & DIRTY_BATON_REPORT) != 0;
}

/* State of `seq`. IDLE if the page is about another request or the state is unknown. */
static inline dirty_baton_state dirty_baton_read(const dirty_lane_page *page,
                                                 uint64_t seq) {
    uint64_t word = dirty_baton_load(page);
    if (dirty_baton_seq(word) != (seq & UINT64_MAX >> 8))
        return DIRTY_BATON_IDLE;
    return dirty_baton_state_of(word);
}

#endif
