/* ask: one request of a random client: its bytes, how they are sent, and what of a right
 * answer follows from them.
 *
 * Everything about an ask follows from the generator it is picked by. Its arguments are
 * often made of whole request frames to an app that nobody calls: a server that takes
 * them for requests is seen by what that app notes. */
#ifndef RANDOM_ASK_H
#define RANDOM_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "spec/random/delivery.h"
#include "wire/fault.h"

/* The largest part of a request that the server looks at before it lets it wait: up to
 * this size it is read whole before anything is done with it (docs/protocol.md, 7.1). */
#define ASK_HEAD_MAX 8192

#define ASK_TEXT_LEN 17

typedef enum ask_kind {
    ASK_NOOP,
    ASK_ECHO,  /* up to four values */
    ASK_EDGE,  /* an echo of about as many bytes as the server takes at first */
    ASK_LARGE, /* an echo of up to some MB */
    ASK_SLEEP,
    ASK_FAIL,  /* raises a text of its own */
    ASK_SPIN,  /* longer than its budget: TIMEOUT is right */
    ASK_COUNT, /* a stream */
    ASK_NOTE,  /* writes its text to a file, which shows how often it ran */
    ASK_DIE,   /* ends its worker */
    ASK_STUCK, /* can't be interrupted: its worker is killed */
    ASK_PING,
    ASK_STATUS,
    ASK_METRICS,
    ASK_NO_APP,
    ASK_NO_ACTION,
    ASK_NO_SERVICE, /* an app or an action that the runtime itself does not have */
    ASK_BAD,        /* breaks a rule of the protocol */
    ASK_KINDS
} ask_kind;

typedef enum ask_app { ASK_WIDE, ASK_ONE, ASK_NOTED, ASK_NOBODYS, ASK_APPS } ask_app;

typedef struct ask {
    ask_kind kind;
    ask_app app; /* ASK_NOBODYS: answered by the arbiter alone */
    uint64_t id;
    uint64_t seed;      /* of its text and payload */
    uint32_t number;    /* milliseconds or chunks, by kind */
    uint32_t budget_ms; /* 0: the server's */
    const char *action;
    dirty_buf frame; /* owned, kept until it is answered */
    size_t args_at;  /* where in the frame the arguments begin */
    uint16_t argc;
    size_t inner_at, inner_step; /* request frames inside of it, step 0: none */

    size_t deadline_at;  /* where in the frame its absolute deadline is, 0: it has none */
    int64_t deadline_us; /* after the first byte is sent */
    bool ageless;        /* it is in the far future instead */
    uint64_t deadline_ns; /* once it is being sent */

    /* ASK_BAD */
    dirty_wire_fault fault; /* OK: a PROTOCOL error that names none */
    bool fault_of_lane;     /* found where the values are read */
    bool no_id;             /* the header can't be read: the answer's id is 0 */

    delivery way;
    /* how far it has come */
    size_t sent;
    uint64_t first_ns;  /* before its first byte was sent, 0: not begun */
    uint64_t header_ns; /* when its header was out, 0: not yet */
    uint64_t last_ns;   /* before its last byte was sent, 0: not yet */
    uint64_t whole_ns;  /* when that was out, 0: not yet */
    uint32_t chunks;    /* that have come */
    bool abandoned;     /* nobody will read its answer */
} ask;

/* What is left out, by `--without`: a bit for each word of random.c. */
enum {
    WITHOUT_HALF_CLOSE = 1,
    WITHOUT_HANG_UP = 2,
    WITHOUT_STALL = 4,
    WITHOUT_SPLIT = 8,
    WITHOUT_BAD = 16,
    WITHOUT_DEATH = 32,
    WITHOUT_LAG = 64,
    WITHOUT_PIPELINE = 128,
    WITHOUT_SERVICE = 256
};

/* Choose an ask by the generator and make its bytes. `last`: nothing follows it on its
 * connection, so that it may be one that is never sent to its end. */
void ask_pick(ask *a, uint64_t *rng, uint64_t id, const delivery_choice *choice);

void ask_deinit(ask *a);

/* Its own text, which no other ask has. */
void ask_text(const ask *a, char out[ASK_TEXT_LEN]);

static inline bool ask_is_whole(const ask *a) {
    return a->sent == a->frame.len;
}

/* Whether an app of ours may get it. */
static inline bool ask_is_routed(const ask *a) {
    return a->app != ASK_NOBODYS;
}

/* When its time is over, if the server takes it up at since_ns: by its caller's budget,
 * the app's own timeout or its deadline. UINT64_MAX: never. */
uint64_t ask_over_ns(const ask *a, uint64_t since_ns, uint32_t app_timeout_ms);

/* Whether it came whole after its deadline, so that it must not run. */
static inline bool ask_is_too_late(const ask *a) {
    return a->deadline_at != 0 && a->last_ns > a->deadline_ns;
}

/* What is in its frame, for people. */
void ask_describe(const ask *a, char *out, size_t size);

const char *ask_kind_name(ask_kind kind);
const char *ask_app_name(ask_app app);

#endif
