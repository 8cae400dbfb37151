/* call: one request, in the form in which a lane hands it to the Lua host: what to run,
 * its arguments, and what the app may ask about it. Everything is borrowed until the
 * request is done. */
#ifndef DIRTY_CALL_H
#define DIRTY_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "wire/value.h"

typedef struct dirty_call {
    uint64_t seq;       /* of the baton (base/baton.h) */
    uint64_t id;        /* chosen by the client, repeated in every frame of the answer */
    uint32_t app;       /* index in the worker's list of apps */
    dirty_slice action; /* printable ASCII, not empty */
    dirty_slice metadata; /* JSON text, base NULL: none */
    uint32_t argc;
    dirty_value_reader args; /* valid values with nothing after them */
    bool seated;             /* the argument after `args` is in the host's seat */
    dirty_value_reader rest; /* the arguments after the seated one */
    uint64_t arrived_ns;
    uint64_t deadline_ns; /* 0: none */
    int32_t peer_pid;
    uint32_t peer_uid;
    int fd; /* the client's connection: only to check whether it is open */
} dirty_call;

#endif
