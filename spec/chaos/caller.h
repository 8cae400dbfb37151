/* caller: one connection that makes a call after the other and judges what comes back.
 *
 *                 due              all sent             answer, or the end
 *     RESTING ──────────► SENDING ─────────► WAITING ─────────────────────► RESTING
 *                          pauses half way    pauses before it reads
 *
 * Large requests pause on purpose now and then, so that kills meet lanes that read and
 * lanes that write. */
#ifndef CHAOS_CALLER_H
#define CHAOS_CALLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "spec/chaos/call.h"
#include "spec/chaos/monkey.h"
#include "spec/chaos/tally.h"

/* What all callers share. */
typedef struct field {
    const char *socket;
    int epoll_fd;
    uint64_t seed;
    unsigned weights[CALL_KINDS];
    bool open;          /* new calls begin */
    uint32_t grace_ms;  /* of the server: from a deadline to its answer */
    uint32_t margin_ms; /* what more an answer may take */
    const monkey *monkey;
    tally tally;
} field;

typedef enum caller_state { CALLER_RESTING, CALLER_SENDING, CALLER_WAITING } caller_state;

typedef struct caller {
    field *field;
    caller_state state;
    int fd;        /* -1: not connected */
    bool watching; /* the descriptor is in the epoll set */
    call call;
    dirty_buf out, in;
    size_t sent;
    size_t halt_at;    /* pause when so much is sent, 0: do not */
    bool halt_reading; /* pause before the answer is read */
    bool halted;       /* it has paused: its answer may be late */
    bool resent;
    uint64_t began_ns;
    uint64_t wake_ns; /* end of a rest or a pause, 0: it waits for the socket */
} caller;

void caller_init(caller *c, field *f);
void caller_deinit(caller *c);

/* The socket is ready, or has ended: what epoll says of it. */
void caller_ready(caller *c, uint32_t events);

/* Look at the time: begin a call, end a pause, give up a call that hangs. */
void caller_tick(caller *c, uint64_t now_ns);

/* When caller_tick is due, 0: not before something happens. */
uint64_t caller_due_ns(const caller *c);

static inline bool caller_is_busy(const caller *c) {
    return c->state != CALLER_RESTING;
}

#endif
