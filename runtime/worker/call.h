/* call: one request in a lane, as it is handed to the Lua host: what runs, with which
 * arguments, and what the app may ask about it. Everything is borrowed until the request
 * is done. */
#ifndef DIRTY_CALL_H
#define DIRTY_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "wire/value.h"

typedef struct dirty_call {
    uint64_t seq;         /* of the baton */
    uint64_t id;          /* the caller's, echoed in every frame of the answer */
    uint32_t app;         /* index in the worker's list of apps */
    dirty_slice action;   /* printable ASCII, not empty */
    dirty_slice metadata; /* JSON text, base NULL: none */
    uint32_t argc;
    dirty_value_reader args; /* good values and nothing after them */
    bool seated;             /* the next argument is in the host's seat, … */
    dirty_value_reader rest; /* … and these come after it */
    uint64_t arrived_ns;
    uint64_t deadline_ns; /* 0: none */
    int32_t peer_pid;
    uint32_t peer_uid;
    int fd; /* the caller's connection: to look at, not to read or write */
} dirty_call;

#endif
