/* delivery: how the bytes of one request are sent: in how many pieces, with which pauses,
 * how far, and what happens where they stop. */
#ifndef RANDOM_DELIVERY_H
#define RANDOM_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CUTS_MAX 6

typedef enum delivery_end {
    END_NONE,       /* the next request may follow */
    END_HALF_CLOSE, /* shutdown(SHUT_WR), then wait for what comes */
    END_HANG_UP,    /* close() */
    END_STALL       /* no further byte: wait for what comes */
} delivery_end;

typedef struct delivery {
    bool awaits;      /* the answers to all before it */
    uint32_t wait_us; /* before its first byte */
    uint32_t cuts;
    size_t cut_at[CUTS_MAX]; /* ascending; nothing is sent for a pause at each */
    uint32_t pause_us[CUTS_MAX];
    size_t stop_at;       /* so many bytes are sent at most */
    delivery_end then;    /* when they are out */
    uint32_t patience_us; /* hang up so long after the first byte, 0: never */
} delivery;

/* What a delivery is chosen by. */
typedef struct delivery_choice {
    unsigned without;         /* bits of ask.h */
    uint32_t recv_timeout_ms; /* the server's: some pauses are longer */
    bool first, last;         /* of its connection */
} delivery_choice;

/* Of what is to be sent. */
typedef struct delivery_shape {
    size_t size;
    size_t inner_at, inner_step; /* places where a cut would let frames inside begin */
    uint32_t budget_ms;
    bool bad; /* no half-close inside: what is told then is another's matter */
} delivery_shape;

void delivery_pick(delivery *d, uint64_t *rng, const delivery_shape *shape,
                   const delivery_choice *choice);

/* A number below n. */
uint32_t random_below(uint64_t *rng, uint32_t n);

/* A number from `from` to `to`. */
uint32_t random_within(uint64_t *rng, uint32_t from, uint32_t to);

/* True in `percent` of 100. */
bool random_chance(uint64_t *rng, uint32_t percent);

#endif
