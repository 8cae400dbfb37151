#include "worker/lua_call.h"

#include <string.h>

#include <lauxlib.h>

#include "worker/lua_state.h"

/* Whether a name can be an action: the runtime does not call it, and it does not begin
 * with
 * "_". dirty.lane.actions has the same rules. */
static bool is_action_name(dirty_slice name) {
    switch (name.len) {
    case 3: return memcmp(name.base, "new", 3) != 0 && name.base[0] != '_';
    case 4:
        return memcmp(name.base, "init", 4) != 0 && memcmp(name.base, "call", 4) != 0 &&
               name.base[0] != '_';
    case 5: return memcmp(name.base, "close", 5) != 0 && name.base[0] != '_';
    default: return name.base[0] != '_';
    }
}

/* Stack slots of the arguments of run_call. */
enum { ARG_OBJECT = 1, ARG_OWN_CALL };

/* Push the function to call and its first arguments. Returns the number of those. */
static int push_target(lua_State *L, dirty_host *h, const dirty_call *call) {
    if (lua_toboolean(L, ARG_OWN_CALL)) { /* call(object, action, …) */
        lua_pushvalue(L, ARG_OWN_CALL);
        lua_pushvalue(L, ARG_OBJECT);
        lua_pushlstring(L, call->action.base, call->action.len);
        return 2;
    }
    if (is_action_name(call->action)) {
        lua_pushlstring(L, call->action.base, call->action.len);
        lua_gettable(L, ARG_OBJECT);
        if (lua_isfunction(L, -1)) { /* object[action](object, …) */
            lua_pushvalue(L, ARG_OBJECT);
            return 1;
        }
    }
    dirty__push_lane(h, "no_action"); /* (object, app, action): raises */
    lua_pushvalue(L, ARG_OBJECT);
    lua_pushstring(L, h->scope.app);
    lua_pushlstring(L, call->action.base, call->action.len);
    return lua_call(L, 3, 0), 0;
}

static void push_value(lua_State *L, dirty_host *h, const dirty_value *value) {
    h->misfit = false; /* an error raised by the next line is about JSON */
    h->misfit = !dirty_lua_push_value(L, &h->codec, value);
    if (h->misfit)
        lua_error(L);
}

static void push_values(lua_State *L, dirty_host *h, dirty_value_reader values) {
    dirty_value value;
    for (; values.left > 0; h->argument++) {
        dirty_value_next(&values, &value);
        push_value(L, h, &value);
    }
}

static void push_arguments(lua_State *L, dirty_host *h, const dirty_call *call) {
    h->argument = 0;                           /* of an error below: too many arguments */
    bool fits = call->argc < LUA_MINSTACK / 2; /* always there */
    if (!fits && !lua_checkstack(L, (int)call->argc + LUA_MINSTACK))
        luaL_error(L, "%d arguments are too many for Lua", (int)call->argc);
    h->argument = 1;
    push_values(L, h, call->args);
    if (!call->seated)
        return;
    dirty_lua_memory_push_seat(&h->memory, L);
    h->argument++;
    push_values(L, h, call->rest);
}

static void decode_metadata(lua_State *L, dirty_host *h, const dirty_call *call) {
    dirty_value value = {DIRTY_TAG_JSON, call->metadata};
    push_value(L, h, &value);
    lua_rawseti(L, LUA_REGISTRYINDEX, h->scope.metadata);
}

/* Encode the results from slot `first` on. Fails the call if one can't be sent. */
static int finish(lua_State *L, dirty_host *h, int first, dirty_outcome good) {
    h->stage = STAGE_RESULTS;
    if (dirty_answer_encode(L, &h->answer, &h->codec, &h->limits, first)) {
        h->outcome = good;
        return lua_gettop(L) - first + 1;
    }
    h->stage = STAGE_REFUSED;
    h->outcome = DIRTY_OUTCOME_FAILED;
    return 1;
}

/* Whether the app returned nil, err. */
static bool is_nil_err(lua_State *L, int first) {
    return lua_gettop(L) > first && lua_isnil(L, first) && !lua_isnil(L, first + 1);
}

static int give_up(lua_State *L, dirty_host *h, int error) {
    h->outcome = DIRTY_OUTCOME_FAILED;
    lua_pushvalue(L, error);
    return 1;
}

/* The body of dirty_host_call, (object, own call) → results. They stay on the stack while
 * they are sent. */
int dirty__run_call(lua_State *L) {
    dirty_host *h = dirty__upvalue_host(L);
    const dirty_call *call = h->scope.call;
    if (call->metadata.base != NULL) {
        h->stage = STAGE_METADATA;
        decode_metadata(L, h, call);
    }
    h->stage = STAGE_RUN;
    int own = push_target(L, h, call), function = lua_gettop(L) - own;
    h->stage = STAGE_ARGUMENTS;
    push_arguments(L, h, call);
    h->stage = STAGE_RUN;
    lua_call(L, own + (int)call->argc, LUA_MULTRET);
    if (dirty__leave_app(h) != DIRTY_CODE_NONE)
        return 0;
    if (is_nil_err(L, function))
        return give_up(L, h, function + 1);
    if (lua_isfunction(L, function)) {
        h->outcome = DIRTY_OUTCOME_STREAM;
        lua_settop(L, function + 2); /* as `for` takes it: function, state, control */
        return 3;
    }
    return finish(L, h, function, DIRTY_OUTCOME_VALUES);
}

/* The body of dirty_host_next, (function, state, control) → values. */
int dirty__run_step(lua_State *L) {
    dirty_host *h = dirty__upvalue_host(L);
    h->stage = STAGE_RUN;
    lua_call(L, 2, LUA_MULTRET);
    if (dirty__leave_app(h) != DIRTY_CODE_NONE)
        return 0;
    if (is_nil_err(L, 1))
        return give_up(L, h, 2);
    if (lua_isnoneornil(L, 1)) {
        h->outcome = DIRTY_OUTCOME_END;
        return 0;
    }
    return finish(L, h, 1, DIRTY_OUTCOME_CHUNK);
}
