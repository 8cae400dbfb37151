#include "worker/lua_host.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "base/log.h"
#include "worker/interrupt.h"
#include "worker/lua_api.h"
#include "worker/lua_memory.h"
#include "worker/lua_value.h"
#include "worker/worker.h"

/* Slots at the bottom of the Lua stack that stay for the life of the state. */
enum {
    SLOT_APPS = 1, /* of app i: object at 2i+1, its own `call` or false at 2i+2 */
    SLOT_ON_ERROR,
    SLOT_CALL,
    SLOT_STEP,
    SLOT_DESCRIBE,
    SLOT_TIDY,
    SLOT_COLLECT,
    SLOT_BASE = SLOT_COLLECT
};

/* What one text of a boot failure may take in JSON; two of them fit in a message. */
#define BOOT_TEXT_MAX 7000
/* JSON texts above this make cjson give its buffer back after the request. */
#define JSON_KEEP_BYTES (1u << 20)

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
    dirty_interrupt interrupt;
    const dirty_worker_start *start;
    dirty_lua_scope scope;
    dirty_lua_codec codec;
    dirty_answer_limits limits;
    int lane;        /* registry reference of the module dirty.lane */
    int apps;        /* … of the table of SLOT_APPS */
    uint32_t opened; /* apps that were made */
    stage stage;
    uint32_t argument; /* that is being decoded, 1.. */
    bool streams;
    dirty_outcome outcome; /* of the protected call that runs */
    dirty_answer answer;
    dirty_lane_error failure;
};

/* -- State ------------------------------------------------------------------------- */

/* Outside of protection nothing may raise: memory is out, or we have a bug. */
static int panic(lua_State *L) {
    const char *text = lua_tostring(L, -1);
    dirty_log(DIRTY_LOG_ERROR, "lua panic: the worker ends", "reason=%s",
              DIRTY_LOG_QUOTE(text ? text : "unknown"));
    _exit(DIRTY_WORKER_BROKEN);
}

static dirty_host *upvalue_host(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Length of a traceback without its last line, which is the lane's own function. */
static size_t without_own_frame(const char *text, size_t len) {
    static const char own[] = "\n\t[C]: at ";
    const char *last = memrchr(text, '\n', len);
    bool ours = last != NULL && strncmp(last, own, sizeof own - 1) == 0;
    return ours ? (size_t)(last - text) : len;
}

/* Message handler of every call into an app: keep the traceback of where it happened and
 * pass the error on as it is. */
static int on_error(lua_State *L) {
    dirty_host *h = upvalue_host(L);
    size_t len;
    lua_settop(L, 1);
    luaL_traceback(L, L, NULL, 1);
    const char *text = lua_tolstring(L, 2, &len);
    dirty_lane_error_trace(&h->failure, text, without_own_frame(text, len));
    lua_settop(L, 1);
    return 1;
}

static void set_path(lua_State *L, const char *field, const char *path) {
    if (path == NULL)
        return;
    lua_getglobal(L, "package");
    lua_pushstring(L, path);
    lua_setfield(L, -2, field);
    lua_pop(L, 1);
}

static int ref_field(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int run_call(lua_State *L);
static int run_step(lua_State *L);
static int describe(lua_State *L);
static int tidy(lua_State *L);
static int collect(lua_State *L);

/* Everything that opening can raise. */
static int open_state(lua_State *L) {
    dirty_host *h = lua_touserdata(L, 1);
    luaL_openlibs(L);
    set_path(L, "path", h->start->lua_path);
    set_path(L, "cpath", h->start->lua_cpath);
    dirty_lua_memory_try_seat(&h->memory, L);
    dirty_lua_api_open(L, &h->scope);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "dirty.lane");
    lua_call(L, 1, 1);
    int lane = lua_gettop(L);
    h->codec.encode = ref_field(L, lane, "encode");
    h->codec.decode = ref_field(L, lane, "decode");
    h->codec.explain = ref_field(L, lane, "explain");
    h->lane = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushboolean(L, 0);
    h->scope.metadata = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int push_slots(lua_State *L) {
    static const lua_CFunction slots[] = {on_error, run_call, run_step,
                                          describe, tidy,     collect};
    dirty_host *h = lua_touserdata(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    h->apps = luaL_ref(L, LUA_REGISTRYINDEX);
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        lua_pushlightuserdata(L, h);
        lua_pushcclosure(L, slots[i], 1);
    }
    return 1 + sizeof slots / sizeof *slots;
}

/* Run `function` with the host as its argument; results stay on the stack. */
static int protected(dirty_host *h, lua_CFunction function) {
    lua_pushcfunction(h->L, function);
    lua_pushlightuserdata(h->L, h);
    return lua_pcall(h->L, 1, LUA_MULTRET, 0);
}

int dirty_host_open(dirty_host **out, const dirty_worker_start *start, dirty_buf *why) {
    dirty_host *h = calloc(1, sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    h->start = start;
    h->scope.start = start;
    h->limits = (dirty_answer_limits){start->limits.max_message, start->limits.max_args};
    dirty_lane_error_init(&h->failure);
    h->L = luaL_newstate();
    if (h->L == NULL) {
        free(h);
        return -ENOMEM;
    }
    dirty_lua_memory_install(&h->memory, h->L);
    lua_atpanic(h->L, panic);
    lua_gc(h->L, LUA_GCSTOP, 0); /* nothing is garbage while the state is built */
    if (protected(h, push_slots) != 0 || protected(h, open_state) != 0) {
        const char *text = lua_tostring(h->L, -1);
        dirty_buf_append_cstr(why, text ? text : "unknown error");
        dirty_host_close(h);
        return -EINVAL;
    }
    lua_settop(h->L, SLOT_BASE);
    lua_gc(h->L, LUA_GCRESTART, 0);
    *out = h;
    return 0;
}

static bool any_interruptible(const dirty_worker_start *start) {
    for (uint32_t i = 0; i < start->app_count; i++)
        if (start->apps[i]->interruptible)
            return true;
    return false;
}

int dirty_host_listen(dirty_host *h, dirty_lane_page *page, bool first) {
    dirty_interrupt_options options = {.page = page,
                                       .compiled = first && any_interruptible(h->start),
                                       .max_memory = h->start->max_memory_bytes};
    return dirty_interrupt_open(&h->interrupt, h->L, &options);
}

/* Push a function of dirty.lane. */
static void push_lane(dirty_host *h, const char *name) {
    lua_rawgeti(h->L, LUA_REGISTRYINDEX, h->lane);
    lua_getfield(h->L, -1, name);
    lua_remove(h->L, -2);
}

/* -- Apps -------------------------------------------------------------------------- */

static void set_text(lua_State *L, const char *name, const char *text) {
    if (text == NULL)
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void push_spec(lua_State *L, const dirty_app_spec *spec) {
    lua_newtable(L);
    set_text(L, "name", spec->name);
    set_text(L, "module", spec->module);
    set_text(L, "object", spec->object);
    set_text(L, "options", spec->options);
}

static void add_text(lua_State *L, dirty_buf *out, const char *name, int index) {
    size_t len;
    lua_getfield(L, index, name);
    const char *text = lua_tolstring(L, -1, &len);
    size_t start = out->len;
    while (text != NULL) {
        dirty_buf_printf(out, ",\"%s\":", name);
        dirty_buf_json_string(out, text, len);
        if (out->len - start <= BOOT_TEXT_MAX)
            break;
        out->len = start;
        len /= 2;
    }
    lua_pop(L, 1);
}

/* Append phase, message and traceback of the failure table at `index`. */
static void add_failure(lua_State *L, dirty_buf *out, int index) {
    add_text(L, out, "phase", index);
    add_text(L, out, "message", index);
    add_text(L, out, "traceback", index);
}

typedef struct app_work {
    dirty_host *host;
    uint32_t app;
    bool init;
    bool ok;
    dirty_buf *out;
} app_work;

/* Where an app's object is in the table of SLOT_APPS. */
static int object_at(uint32_t app) {
    return 2 * (int)app + 1;
}

/* Load the app and make its object. [-1, +0, e] */
static int open_app(lua_State *L) {
    app_work *work = lua_touserdata(L, 1);
    dirty_host *h = work->host;
    push_lane(h, "open");
    push_spec(L, h->start->apps[work->app]);
    lua_call(L, 1, 3); /* object, its own call or false, failure */
    if (lua_isnil(L, 2)) {
        add_failure(L, work->out, 4);
        return 0;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->apps);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, object_at(work->app));
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, object_at(work->app) + 1);
    work->ok = true;
    return 0;
}

/* Load the app's module alone. [-1, +0, e] */
static int try_app(lua_State *L) {
    app_work *work = lua_touserdata(L, 1);
    push_lane(work->host, "try");
    push_spec(L, work->host->start->apps[work->app]);
    lua_pushboolean(L, work->init);
    lua_call(L, 2, 2); /* members of the report, failure */
    if (lua_isnil(L, 2)) {
        add_failure(L, work->out, 3);
        return 0;
    }
    dirty_buf_printf(work->out, ",%s", lua_tostring(L, 2));
    work->ok = true;
    return 0;
}

/* Run one of the two above; an error that came through is said as the runtime's own. */
static void run_app_work(app_work *work, lua_CFunction function) {
    dirty_host *h = work->host;
    h->scope.app = h->start->apps[work->app]->name;
    lua_pushcfunction(h->L, function);
    lua_pushlightuserdata(h->L, work);
    if (lua_pcall(h->L, 1, 0, 0) != 0) {
        const char *text = lua_tostring(h->L, -1);
        dirty_buf_append_cstr(work->out, ",\"phase\":\"load\",\"message\":");
        dirty_buf_json_string(work->out, text ? text : "", text ? strlen(text) : 0);
    }
    lua_settop(h->L, SLOT_BASE);
    h->scope.app = NULL;
}

/* What is left to do once the apps are there. */
static int end_boot(lua_State *L) {
    push_lane(lua_touserdata(L, 1), "booted");
    lua_call(L, 0, 0);
    return 0;
}

int dirty_host_boot(dirty_host *h, dirty_buf *why) {
    for (uint32_t i = 0; i < h->start->app_count; i++) {
        const char *name = h->start->apps[i]->name;
        dirty_buf_append_cstr(why, "{\"app\":");
        dirty_buf_json_string(why, name, strlen(name));
        app_work work = {.host = h, .app = i, .out = why};
        run_app_work(&work, open_app);
        dirty_buf_append_cstr(why, "}");
        if (!work.ok)
            return -EINVAL;
        why->len = 0;
        h->opened = i + 1;
    }
    protected(h, end_boot);
    lua_settop(h->L, SLOT_BASE);
    return 0;
}

int dirty_host_try(dirty_host *h, uint32_t app, bool init, dirty_buf *report) {
    dirty_buf rest = {0};
    app_work work = {.host = h, .app = app, .init = init, .out = &rest};
    run_app_work(&work, try_app);
    dirty_buf_printf(report, "\"ok\":%s", work.ok ? "true" : "false");
    dirty_buf_append(report, rest.base, rest.len);
    dirty_buf_deinit(&rest);
    return work.ok ? 0 : -EINVAL;
}

/* close() of the app whose index is the argument. */
static int close_app(lua_State *L) {
    app_work *work = lua_touserdata(L, 1);
    push_lane(work->host, "close");
    lua_rawgeti(L, LUA_REGISTRYINDEX, work->host->apps);
    lua_rawgeti(L, -1, object_at(work->app));
    lua_remove(L, -2);
    lua_call(L, 1, 0);
    return 0;
}

void dirty_host_close(dirty_host *h) {
    if (h == NULL)
        return;
    dirty_buf out = {0};
    while (h->opened > 0) {
        app_work work = {.host = h, .app = --h->opened, .out = &out};
        run_app_work(&work, close_app);
    }
    dirty_buf_deinit(&out);
    dirty_interrupt_close(&h->interrupt);
    dirty_lua_memory_remove(&h->memory, h->L);
    lua_close(h->L);
    dirty_answer_deinit(&h->answer);
    dirty_lane_error_deinit(&h->failure);
    free(h);
}

/* -- Calls, inside protection ------------------------------------------------------ */

/* Names that are the runtime's to call, and names that an app keeps to itself. */
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

/* Where run_call finds what it is given. */
enum { ARG_OBJECT = 1, ARG_OWN_CALL };

/* Push the function to call and its first arguments; returns how many of those. */
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
    push_lane(h, "no_action"); /* (object, app, action) raises */
    lua_pushvalue(L, ARG_OBJECT);
    lua_pushstring(L, h->scope.app);
    lua_pushlstring(L, call->action.base, call->action.len);
    return lua_call(L, 3, 0), 0;
}

static void push_values(lua_State *L, dirty_host *h, dirty_value_reader values) {
    dirty_value value;
    for (; values.left > 0; h->argument++) {
        dirty_value_next(&values, &value);
        dirty_lua_push_value(L, &h->codec, &value);
    }
}

static void push_arguments(lua_State *L, dirty_host *h, const dirty_call *call) {
    bool fits = call->argc < LUA_MINSTACK / 2; /* that much a C function always has */
    if (!fits && !lua_checkstack(L, (int)call->argc + LUA_MINSTACK))
        luaL_error(L, "%d arguments are more than Lua can take", (int)call->argc);
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
    dirty_lua_push_value(L, &h->codec, &value);
    lua_rawseti(L, LUA_REGISTRYINDEX, h->scope.metadata);
}

/* Results from slot `first` on, which returned them all: refuse what can't be sent. */
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

/* `return nil, err`: leave err alone on the stack for describe. */
static bool is_nil_err(lua_State *L, int first) {
    return lua_gettop(L) > first && lua_isnil(L, first) && !lua_isnil(L, first + 1);
}

static int give_up(lua_State *L, dirty_host *h, int error) {
    h->outcome = DIRTY_OUTCOME_FAILED;
    lua_pushvalue(L, error);
    return 1;
}

/* The body of dirty_host_call, (object, own call) → results, which the host keeps on the
 * stack while they are written. */
static int run_call(lua_State *L) {
    dirty_host *h = upvalue_host(L);
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
    if (dirty_interrupt_leave(&h->interrupt) != DIRTY_CODE_NONE)
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
static int run_step(lua_State *L) {
    dirty_host *h = upvalue_host(L);
    h->stage = STAGE_RUN;
    lua_call(L, 2, LUA_MULTRET);
    if (dirty_interrupt_leave(&h->interrupt) != DIRTY_CODE_NONE)
        return 0;
    if (is_nil_err(L, 1))
        return give_up(L, h, 2);
    if (lua_isnoneornil(L, 1)) {
        h->outcome = DIRTY_OUTCOME_END;
        return 0;
    }
    return finish(L, h, 1, DIRTY_OUTCOME_CHUNK);
}

/* -- Calls, from the lane ---------------------------------------------------------- */

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

/* (error) → the failure's code, message and members. */
static int describe(lua_State *L) {
    static const char *const phases[] = {"run", "queue", "receive", NULL};
    dirty_host *h = upvalue_host(L);
    dirty_lane_error *f = &h->failure;
    size_t len;
    push_lane(h, "describe");
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

/* Tell the error at the top of the stack in Lua's words. */
static void describe_top(dirty_host *h) {
    lua_State *L = h->L;
    lua_pushvalue(L, SLOT_DESCRIBE);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 0, 0) != 0) {
        const char *text = lua_tostring(L, -1);
        dirty_lane_error_sayf(&h->failure, "an error that can't be told: %s",
                              text ? text : "unknown");
    }
}

static void say_top(dirty_host *h) {
    size_t len;
    const char *text = lua_tolstring(h->L, -1, &len);
    if (text != NULL)
        dirty_lane_error_say(&h->failure, text, len);
}

/* The code, the words and whether the app has run, of the error on top of the stack. */
static dirty_outcome fail(dirty_host *h, int status) {
    dirty_lane_error *f = &h->failure;
    bool before = h->stage == STAGE_METADATA || h->stage == STAGE_ARGUMENTS;
    if (status == LUA_ERRMEM) {
        f->code = DIRTY_CODE_MEMORY;
        f->started = before ? "no" : "yes";
        dirty_lane_error_sayf(f, "not enough memory");
    } else if (status == LUA_ERRERR) {
        /* of some stack overflows LuaJIT says no more, for want of stack */
        dirty_lane_error_sayf(f, "stack overflow, or an error in error handling");
    } else if (before) {
        f->code = DIRTY_CODE_PROTOCOL;
        f->started = "no";
        f->traceback.len = 0;
        if (h->stage == STAGE_METADATA)
            dirty_lane_error_sayf(f, "the metadata is not JSON: ");
        else
            dirty_lane_error_sayf(f, "argument %u is not JSON: ", h->argument);
        say_top(h);
        dirty_wire_fault_members(&f->members, DIRTY_WIRE_BAD_JSON, h->limits.max_message,
                                 h->limits.max_args);
    } else if (h->stage == STAGE_REFUSED) {
        say_top(h);
    } else {
        describe_top(h);
    }
    return DIRTY_OUTCOME_FAILED;
}

/* Whatever the call has returned or raised. */
static dirty_outcome end_interrupted(dirty_host *h) {
    const dirty_call *call = h->scope.call;
    dirty_interrupt_tell(&h->interrupt, h->scope.app, call->action, call->arrived_ns,
                         &h->failure);
    return DIRTY_OUTCOME_FAILED;
}

/* Run what lies on the stack with `args` arguments above it. */
static dirty_outcome run(dirty_host *h, int args) {
    dirty_lane_error_set(&h->failure, DIRTY_CODE_APP, "yes");
    h->outcome = DIRTY_OUTCOME_FAILED;
    dirty_interrupt_enter(&h->interrupt, h->scope.call->seq);
    int status = lua_pcall(h->L, args, LUA_MULTRET, SLOT_ON_ERROR);
    if (dirty_interrupt_leave(&h->interrupt) != DIRTY_CODE_NONE)
        return end_interrupted(h);
    if (status != 0)
        h->outcome = DIRTY_OUTCOME_FAILED;
    return h->outcome == DIRTY_OUTCOME_FAILED ? fail(h, status) : h->outcome;
}

char *dirty_host_seat(dirty_host *h, size_t len) {
    return dirty_lua_memory_seat(&h->memory, len);
}

dirty_outcome dirty_host_call(dirty_host *h, const dirty_call *call) {
    h->scope.call = call;
    h->scope.app = h->start->apps[call->app]->name;
    lua_pushvalue(h->L, SLOT_CALL);
    lua_rawgeti(h->L, SLOT_APPS, object_at(call->app));
    lua_rawgeti(h->L, SLOT_APPS, object_at(call->app) + 1);
    return run(h, 2);
}

/* Slots of the stream that a call has left on the stack. */
enum { SLOT_FUNCTION = SLOT_BASE + 1, SLOT_STATE, SLOT_CONTROL, SLOT_VALUES };

dirty_outcome dirty_host_next(dirty_host *h) {
    lua_State *L = h->L;
    if (lua_gettop(L) >= SLOT_VALUES) { /* the first value of the last step */
        lua_pushvalue(L, SLOT_VALUES);
        lua_replace(L, SLOT_CONTROL);
    }
    lua_settop(L, SLOT_CONTROL);
    lua_pushvalue(L, SLOT_STEP);
    for (int i = SLOT_FUNCTION; i <= SLOT_CONTROL; i++)
        lua_pushvalue(L, i);
    return run(h, 3);
}

struct iovec *dirty_host_answer(dirty_host *h, dirty_frame_type type, size_t *count) {
    dirty_answer_finish(&h->answer, type, h->scope.call->id);
    *count = h->answer.iov_count;
    return h->answer.iov;
}

dirty_lane_error *dirty_host_error(dirty_host *h) {
    return &h->failure;
}

/* Clear what a large or rare request has left behind. */
static int tidy(lua_State *L) {
    dirty_host *h = upvalue_host(L);
    lua_pushboolean(L, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, h->scope.metadata);
    push_lane(h, "tidy");
    lua_call(L, 0, 0);
    return 0;
}

static int collect(lua_State *L) {
    dirty_lua_memory_collect(&upvalue_host(L)->memory, L);
    return 0;
}

/* Between requests; what finalizers raise has nobody to be told to. */
static void run_slot(dirty_host *h, int slot) {
    lua_pushvalue(h->L, slot);
    lua_pcall(h->L, 0, 0, 0);
    lua_settop(h->L, SLOT_BASE);
}

void dirty_host_release(dirty_host *h) {
    lua_settop(h->L, SLOT_BASE);
    bool metadata = h->scope.call != NULL && h->scope.call->metadata.base != NULL;
    if (metadata || h->answer.json_max > JSON_KEEP_BYTES) {
        h->answer.json_max = 0;
        run_slot(h, SLOT_TIDY);
    }
    dirty_interrupt_release(&h->interrupt);
    dirty_lua_memory_unseat(&h->memory);
    bool has_large = h->memory.used_bytes + h->memory.kept_bytes > 0;
    if (has_large && dirty_lua_memory_tidy(&h->memory, dirty_host_bytes(h)))
        run_slot(h, SLOT_COLLECT);
    h->scope.call = NULL;
    h->scope.app = NULL;
}

uint64_t dirty_host_bytes(const dirty_host *h) {
    return (uint64_t)lua_gc(h->L, LUA_GCCOUNT, 0) * 1024;
}
