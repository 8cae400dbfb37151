/* recent_calls: the last calls of one process that failed or were slow, in a ring.
 *
 * A lane writes its ring, which is in memory that it shares with the arbiter. So a failed
 * call costs the arbiter nothing. The arbiter has a ring of its own, for the errors that
 * it answers and for those of workers that have ended, and reads all of them when
 * somebody asks (arbiter/recent.h).
 *
 * One thread writes a ring. A reader copies an entry and then looks whether it has been
 * overwritten meanwhile. An app may have overwritten a lane's ring: the reader checks
 * what it copies. */
#ifndef DIRTY_RECENT_CALLS_H
#define DIRTY_RECENT_CALLS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"

#define DIRTY_RECENT_CALLS 32
/* Bytes of texts, with their ends. Longer ones are cut. */
#define DIRTY_RECENT_NAME 256
#define DIRTY_RECENT_MESSAGE 640
#define DIRTY_RECENT_TRACEBACK 1536

typedef struct dirty_recent_call {
    _Atomic uint64_t number; /* counts the calls of the ring; 0: none, or being written */
    uint64_t ended_ns;       /* base/clock.h */
    uint64_t queue_ns;
    uint64_t run_ns;  /* 0: it did not run */
    uint32_t code;    /* an error code; 0: a value that came slowly */
    uint32_t worker;  /* number of the worker that had it, 0: none */
    pid_t worker_pid; /* 0: none */
    pid_t caller_pid; /* as the kernel told it */
    uid_t caller_uid;
    char app[DIRTY_RECENT_NAME]; /* empty: none was found */
    char action[DIRTY_RECENT_NAME];
    char message[DIRTY_RECENT_MESSAGE]; /* empty for a value */
    char traceback[DIRTY_RECENT_TRACEBACK];
} dirty_recent_call;

/* Zeroed memory is an empty ring. */
typedef struct dirty_recent_calls {
    uint64_t last; /* number of the call that was written last; only for the writer */
    dirty_recent_call calls[DIRTY_RECENT_CALLS];
} dirty_recent_calls;

/* The parts of an entry. Texts are borrowed until dirty_recent_add returns. */
typedef struct dirty_recent_facts {
    uint64_t ended_ns, queue_ns, run_ns;
    uint32_t code, worker;
    pid_t worker_pid, caller_pid;
    uid_t caller_uid;
    dirty_slice app, action, message, traceback;
} dirty_recent_facts;

/* Write an entry over the oldest one. */
void dirty_recent_add(dirty_recent_calls *ring, const dirty_recent_facts *facts);

/* Copy entry `i` of a ring that another process may be writing. Returns false if there is
 * none, or it was overwritten meanwhile. The texts of the copy have ends. */
bool dirty_recent_copy(const dirty_recent_calls *ring, uint32_t i,
                       dirty_recent_call *out);

/* When the call of entry `i` ended; 0: there is none. To choose entries to copy. */
uint64_t dirty_recent_ended_ns(const dirty_recent_calls *ring, uint32_t i);

#endif
