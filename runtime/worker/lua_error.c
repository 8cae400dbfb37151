#include "worker/lua_error.h"

#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "base/log.h"
#include "wire/request.h"
#include "worker/lua_state.h"

/* Length of a traceback without its last line, if that is the lane's own C function. */
static size_t without_own_frame(const char *text, size_t len) {
    static const char own[] = "\n\t[C]: at ";
    const char *last = memrchr(text, '\n', len);
    bool ours = last != NULL && strncmp(last, own, sizeof own - 1) == 0;
    return ours ? (size_t)(last - text) : len;
}

/* The message handler of calls into apps. Keeps the traceback and returns the error
 * object unchanged. */
int dirty__on_error(lua_State *L) {
    dirty_host *h = dirty__upvalue_host(L);
    size_t len;
    h->of_finalizer = dirty_lua_collector_rests(L);
    lua_settop(L, 1);
    luaL_traceback(L, L, NULL, 1);
    const char *text = lua_tolstring(L, 2, &len);
    dirty_lane_error_trace(&h->failure, text, without_own_frame(text, len));
    lua_settop(L, 1);
    return 1;
}

static dirty_code code_of(const char *name) {
    for (unsigned code = 1; code <= DIRTY_CODE_LAST; code++)
        if (strcmp(dirty_code_name(code), name) == 0)
            return (dirty_code)code;
    return DIRTY_CODE_APP;
}

static const char *static_text(const char *text, const char *const *known) {
    for (; *known != NULL; known++)
        if (text != NULL && strcmp(text, *known) == 0)
            return *known;
    return NULL;
}

/* Whether dirty.lane.errors may have advice on an error message. */
static bool may_need_advice(const char *message) {
    return strstr(message, "global 'ngx'") != NULL;
}

/* (error) → nothing. Fills the failure's code, message and members. */
int dirty__describe(lua_State *L) {
    static const char *const phases[] = {"run", "queue", "receive", NULL};
    dirty_host *h = dirty__upvalue_host(L);
    dirty_lane_error *f = &h->failure;
    size_t len;
    const char *message =
        lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
    if (message != NULL && !may_need_advice(message)) { /* most: they need no Lua */
        dirty_lane_error_say(f, message, len);
        return 0;
    }
    dirty__push_lane(h, "describe");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 5); /* message, code, started, phase, members */
    const char *text = lua_tolstring(L, -5, &len);
    dirty_lane_error_say(f, text ? text : "", text ? len : 0);
    if (lua_isstring(L, -4))
        f->code = code_of(lua_tostring(L, -4));
    if (lua_isstring(L, -3) && strcmp(lua_tostring(L, -3), "no") == 0)
        f->started = "no";
    f->phase = static_text(lua_tostring(L, -2), phases);
    text = lua_tolstring(L, -1, &len);
    if (text != NULL && len <= DIRTY_LANE_ERROR_MEMBERS_MAX) {
        dirty_buf_append_cstr(&f->members, ",");
        dirty_buf_append(&f->members, text, len);
    }
    if (f->code == DIRTY_CODE_ACTION_NOT_FOUND)
        f->traceback.len = 0;
    return 0;
}

/* Describe the error on top of the stack by dirty.lane's describe(). */
static void describe_top(dirty_host *h) {
    lua_State *L = h->L;
    lua_pushvalue(L, SLOT_DESCRIBE);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 0, 0) != 0) {
        const char *text = lua_tostring(L, -1);
        if (text == NULL)
            text = "unknown";
        dirty_lane_error_sayf(&h->failure, "an error that can't be described: %s", text);
        dirty_log(DIRTY_LOG_WARN, "can't describe an app's error", "app=%s reason=%s",
                  DIRTY_LOG_QUOTE(h->scope.app), DIRTY_LOG_QUOTE(text));
    }
}

/* Replace lua-cjson's message on top by one in plain words, if that works. */
static void put_plainly(dirty_host *h) {
    dirty__push_lane(h, "plain");
    lua_pushvalue(h->L, -2);
    if (lua_pcall(h->L, 1, 1, 0) == 0 && lua_isstring(h->L, -1))
        lua_replace(h->L, -2);
    else
        lua_pop(h->L, 1);
}

static void say_top(dirty_host *h) {
    size_t len;
    const char *text = lua_tolstring(h->L, -1, &len);
    if (text != NULL)
        dirty_lane_error_say(&h->failure, text, len);
}

/* Fail the call, because a value of the request is not JSON or there are too many. The
 * error is on top. */
static void refuse_request(dirty_host *h) {
    dirty_lane_error *f = &h->failure;
    dirty_wire_fault fault = DIRTY_WIRE_BAD_JSON;
    f->code = DIRTY_CODE_PROTOCOL;
    f->started = "no";
    f->traceback.len = 0;
    const char *what = h->misfit ? ":" : " is not JSON:";
    if (h->stage == STAGE_METADATA)
        dirty_lane_error_sayf(f, "the metadata%s ", what);
    else if (h->argument > 0)
        dirty_lane_error_sayf(f, "argument %u%s ", h->argument, what);
    else
        fault = DIRTY_WIRE_TOO_MANY;
    put_plainly(h);
    say_top(h);
    dirty_wire_fault_members(&f->members, fault, h->limits.max_message,
                             h->limits.max_args);
}

/* Fail the call with the error of a finalizer. It is not known which app's it was. */
static void tell_finalizer(dirty_host *h, bool before) {
    dirty_lane_error *f = &h->failure;
    const dirty_call *call = h->scope.call;
    char name[2 * DIRTY_NAME_MAX + 2];
    bool is_text = lua_type(h->L, -1) == LUA_TSTRING;
    const char *text = is_text ? lua_tostring(h->L, -1) : "(an error object)";
    snprintf(name, sizeof name, "%s.%.*s", h->scope.app, (int)call->action.len,
             call->action.base);
    f->started = before ? "no" : "yes";
    dirty_lane_error_sayf(f, "a finalizer raised an error while %s ran: %s", name, text);
    dirty_lua_collector_tell(&h->collector, text, name);
}

/* Fill the failure from the error on top: code, message, whether the app has run. */
dirty_outcome dirty__fail(dirty_host *h, int status) {
    dirty_lane_error *f = &h->failure;
    bool before = h->stage == STAGE_METADATA || h->stage == STAGE_ARGUMENTS;
    if (status == LUA_ERRRUN && h->of_finalizer && !dirty_lua_collector_rests(h->L)) {
        tell_finalizer(h, before);
    } else if (status == LUA_ERRMEM) {
        f->code = DIRTY_CODE_MEMORY;
        f->started = before ? "no" : "yes";
        dirty_lane_error_sayf(f, "not enough memory");
    } else if (status == LUA_ERRERR) {
        /* some stack overflows leave LuaJIT no stack for a message */
        dirty_lane_error_sayf(f, "stack overflow, or an error in error handling");
    } else if (before) {
        refuse_request(h);
    } else if (h->stage == STAGE_REFUSED) {
        say_top(h);
    } else {
        describe_top(h);
    }
    return DIRTY_OUTCOME_FAILED;
}
