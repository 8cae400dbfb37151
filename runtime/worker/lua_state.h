/* lua_state: the state of the Lua host, shared by its files and by no others:
 *
 *   lua_host.c    opens and closes the state, runs calls      lua_host.h
 *   lua_apps.c    loads, tries and closes apps                lua_host.h
 *   lua_call.c    the bodies of protected calls               lua_call.h
 *   lua_error.c   turns Lua errors into lane errors           lua_error.h
 *
 * The host keeps functions and a table at the bottom of its Lua stack, so that a call
 * starts without an allocation. Above them are the values of the answered call. */
#ifndef DIRTY_LUA_STATE_H
#define DIRTY_LUA_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "worker/interrupt.h"
#include "worker/lua_api.h"
#include "worker/lua_collector.h"
#include "worker/lua_host.h"
#include "worker/lua_memory.h"
#include "worker/lua_value.h"
#include "worker/pin.h"

/* Slots at the bottom of the Lua stack. They stay for the life of the state. */
enum {
    SLOT_APPS =
        1, /* table: of app i the object at 2i+1, its own `call` or false at 2i+2 */
    SLOT_ON_ERROR,
    SLOT_CALL,
    SLOT_STEP,
    SLOT_DESCRIBE,
    SLOT_BASE = SLOT_DESCRIBE
};

/* How far a protected call has come. It tells whose fault an error is. */
typedef enum stage {
    STAGE_METADATA,
    STAGE_ARGUMENTS,
    STAGE_RUN,
    STAGE_RESULTS, /* encoding: an error comes from the result */
    STAGE_REFUSED  /* the text on top says why a result can't be sent */
} stage;

struct dirty_host {
    lua_State *L; /* owned */
    dirty_lua_memory memory;
    dirty_lua_collector collector;
    dirty_interrupt interrupt;
    const dirty_worker_start *start;
    dirty_lua_scope scope;
    dirty_lua_codec codec;
    dirty_answer_limits limits;
    int lane;        /* registry reference of the module dirty.lane */
    int apps;        /* registry reference of the table in SLOT_APPS */
    uint32_t opened; /* number of apps whose object was made */
    stage stage;
    uint32_t argument;     /* number of the one being decoded, from 1; 0: too many */
    bool misfit;           /* the argument has a number that Lua can't hold */
    dirty_outcome outcome; /* of the protected call that runs */
    bool of_finalizer;     /* the error of that call may come from a finalizer */
    dirty_answer answer;
    dirty_lane_error failure;
};

/* The host of a C closure in a slot. */
static inline dirty_host *dirty__upvalue_host(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Remove a hook that an app has set. It is for that app's code alone and ends with its
 * call. */
static inline void dirty__drop_hook(lua_State *L) {
    if (__builtin_expect(lua_gethook(L) != NULL, 0))
        lua_sethook(L, NULL, 0, 0);
}

/* Make the collector's due steps, or with `all` a full collection. Finalizers see no
 * call, and what they log has no app's name. Call it where no app's code runs.
 * [-0, +0, -] */
void dirty__collect(dirty_host *h, lua_State *L, bool all);

/* Make one collector step of `kib`, as lua_gc(L, LUA_GCSTEP, kib) does, with the same
 * rules. True: it ended a cycle. [-0, +0, -] */
bool dirty__collect_turn(dirty_host *h, lua_State *L, int kib);

/* Note that the app's code no longer runs. Returns why it was interrupted,
 * DIRTY_CODE_NONE if it was not. */
static inline dirty_code dirty__end_app(dirty_host *h) {
    dirty_code reason = dirty_interrupt_leave(&h->interrupt);
    dirty__drop_hook(h->L);
    return reason;
}

/* The same after the app's code has returned: from here on our code runs. */
static inline dirty_code dirty__leave_app(dirty_host *h) {
    dirty_code reason = dirty__end_app(h);
    dirty_pin_thread();
    return reason;
}

/* Push the function `name` of dirty.lane. [-0, +1, -] */
void dirty__push_lane(dirty_host *h, const char *name);

/* Index of an app's object in the table of SLOT_APPS. */
static inline int dirty__object_at(uint32_t app) {
    return 2 * (int)app + 1;
}

#endif
