/* lua_state: what the files of the Lua host share: its state, and which of them does
 * what. For lua_host.c, lua_apps.c, lua_call.c and lua_error.c alone.
 *
 * The host keeps functions and tables at the bottom of its Lua stack, so that a call
 * allocates nothing to begin; above them lie the values of the call that is answered. */
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

/* Slots at the bottom of the Lua stack that stay for the life of the state. */
enum {
    SLOT_APPS = 1, /* of app i: object at 2i+1, its own `call` or false at 2i+2 */
    SLOT_ON_ERROR,
    SLOT_CALL,
    SLOT_STEP,
    SLOT_DESCRIBE,
    SLOT_TIDY,
    SLOT_BASE = SLOT_TIDY
};

/* How far a protected call has come, to tell whose fault an error is. */
typedef enum stage {
    STAGE_METADATA,
    STAGE_ARGUMENTS,
    STAGE_RUN,
    STAGE_RESULTS, /* encoding: an error raised here is the result's */
    STAGE_REFUSED  /* the text on the stack says why a result can't be sent */
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
    int apps;        /* … of the table of SLOT_APPS */
    uint32_t opened; /* apps that were made */
    stage stage;
    uint32_t argument;     /* that is being decoded, 1.. */
    bool misfit;           /* it is JSON, with a number that Lua can't hold */
    dirty_outcome outcome; /* of the protected call that runs */
    bool of_finalizer;     /* … what it has raised may be a finalizer's */
    dirty_answer answer;
    dirty_lane_error failure;
};

/* The host of a C closure of a slot. */
static inline dirty_host *dirty__upvalue_host(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Drop the hook that an app has set: it is for that app's code alone, and lives as long
 * as its call. */
static inline void dirty__drop_hook(lua_State *L) {
    if (__builtin_expect(lua_gethook(L) != NULL, 0))
        lua_sethook(L, NULL, 0, 0);
}

/* Make the collector's steps, or all of a collection, where nobody's code runs. It sees
 * no call, and its log bears no app's name. [-0, +0, -] */
void dirty__collect(dirty_host *h, lua_State *L, bool all);

/* No code of the app runs any more. Returns why it was interrupted. */
static inline dirty_code dirty__end_app(dirty_host *h) {
    dirty_code reason = dirty_interrupt_leave(&h->interrupt);
    dirty__drop_hook(h->L);
    return reason;
}

/* The app's code has returned: what follows is ours. Returns why it was interrupted. */
static inline dirty_code dirty__leave_app(dirty_host *h) {
    dirty_code reason = dirty__end_app(h);
    dirty_pin_thread();
    return reason;
}

/* Push a function of dirty.lane. [-0, +1, -] */
void dirty__push_lane(dirty_host *h, const char *name);

/* -- lua_apps.c: load, make and close apps ----------------------------------------- */

/* Where an app's object is in the table of SLOT_APPS. */
static inline int dirty__object_at(uint32_t app) {
    return 2 * (int)app + 1;
}

/* -- lua_call.c: what runs inside a protected call --------------------------------- */

/* SLOT_CALL, (object, own call) → results, which the host keeps while they are sent. */
int dirty__run_call(lua_State *L);

/* SLOT_STEP, (function, state, control) → values of the next chunk. */
int dirty__run_step(lua_State *L);

/* -- lua_error.c: errors in words --------------------------------------------------- */

/* SLOT_ON_ERROR, the message handler: keeps the traceback, passes the error on. */
int dirty__on_error(lua_State *L);

/* SLOT_DESCRIBE, (error): fills the failure. */
int dirty__describe(lua_State *L);

/* Fill the failure from the error on top of the stack; `status` is lua_pcall's. */
dirty_outcome dirty__fail(dirty_host *h, int status);

#endif
