#include "worker/lua_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "base/guest.h"
#include "base/log.h"
#include "base/search_path.h"
#include "worker/lua_state.h"
#include "worker/worker.h"

/* JSON texts above this make cjson give its buffer back after the request. */
#define JSON_KEEP_BYTES (1u << 20)

/* -- State ------------------------------------------------------------------------- */

/* Outside of protection nothing may raise: memory is out, or we have a bug. */
static int panic(lua_State *L) {
    const char *text = lua_tostring(L, -1);
    dirty_log(DIRTY_LOG_ERROR, "lua panic: the worker ends", "reason=%s",
              DIRTY_LOG_QUOTE(text ? text : "unknown"));
    _exit(DIRTY_WORKER_BROKEN);
}

static void set_path(lua_State *L, const char *field, const char *path) {
    if (path == NULL)
        return;
    lua_getglobal(L, "package");
    lua_pushstring(L, path);
    lua_setfield(L, -2, field);
    lua_pop(L, 1);
}

/* The same, of `path` only what does not depend on the working directory. [-0, +0, m] */
static void set_absolute_path(lua_State *L, const char *field, const char *path) {
    if (path == NULL)
        return;
    char *absolute = lua_newuserdata(L, strlen(path) + 1);
    dirty_search_path_absolute(path, absolute);
    set_path(L, field, absolute);
    lua_pop(L, 1);
}

static int ref_field(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int tidy(lua_State *L);
static int collect(lua_State *L);

/* Everything that opening can raise. */
static int open_state(lua_State *L) {
    dirty_host *h = lua_touserdata(L, 1);
    luaL_openlibs(L);
    /* Our own modules, and lua-cjson, are none of those that lie about in the directory
     * where the apps are. */
    set_absolute_path(L, "path", h->start->lua_path);
    set_absolute_path(L, "cpath", h->start->lua_cpath);
    dirty_lua_memory_try_seat(&h->memory, L);
    dirty_lua_api_open(L, &h->scope);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "dirty.lane");
    lua_call(L, 1, 1);
    set_path(L, "path", h->start->lua_path);
    set_path(L, "cpath", h->start->lua_cpath);
    int lane = lua_gettop(L);
    h->codec.encode = ref_field(L, lane, "encode");
    h->codec.decode = ref_field(L, lane, "decode");
    h->codec.explain = ref_field(L, lane, "explain");
    h->codec.max_depth = h->start->limits.max_depth;
    h->lane = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushboolean(L, 0);
    h->scope.metadata = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int push_slots(lua_State *L) {
    static const lua_CFunction slots[] = {
        dirty__on_error, dirty__run_call, dirty__run_step, dirty__describe, tidy,
        collect};
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
int dirty__run_protected(dirty_host *h, lua_CFunction function) {
    lua_pushcfunction(h->L, function);
    lua_pushlightuserdata(h->L, h);
    return lua_pcall(h->L, 1, LUA_MULTRET, 0);
}

int dirty_host_open(dirty_host **out, const dirty_worker_start *start, dirty_buf *why) {
    dirty_host *h = calloc(1, sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    dirty_guest_begin();
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
    if (dirty__run_protected(h, push_slots) != 0 ||
        dirty__run_protected(h, open_state) != 0) {
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
    h->first = first;
    h->scope.page = page;
    return dirty_interrupt_open(&h->interrupt, h->L, &options);
}

/* Push a function of dirty.lane. */
void dirty__push_lane(dirty_host *h, const char *name) {
    lua_rawgeti(h->L, LUA_REGISTRYINDEX, h->lane);
    lua_getfield(h->L, -1, name);
    lua_remove(h->L, -2);
}

void dirty_host_close(dirty_host *h) {
    if (h == NULL)
        return;
    dirty_host_close_apps(h);
    dirty_interrupt_close(&h->interrupt);
    dirty_lua_memory_remove(&h->memory, h->L);
    lua_close(h->L);
    dirty_answer_deinit(&h->answer);
    dirty_lane_error_deinit(&h->failure);
    free(h);
}

/* -- Calls ------------------------------------------------------------------------- */

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
    dirty__drop_hook(h->L); /* of a finalizer */
    dirty_interrupt_enter(&h->interrupt, h->scope.call->seq);
    int status = lua_pcall(h->L, args, LUA_MULTRET, SLOT_ON_ERROR);
    dirty_guest_end(h->scope.app);
    if (dirty__leave_app(h) != DIRTY_CODE_NONE)
        return end_interrupted(h);
    if (status != 0)
        h->outcome = DIRTY_OUTCOME_FAILED;
    return h->outcome == DIRTY_OUTCOME_FAILED ? dirty__fail(h, status) : h->outcome;
}

char *dirty_host_seat(dirty_host *h, size_t len) {
    return dirty_lua_memory_seat(&h->memory, len);
}

dirty_outcome dirty_host_call(dirty_host *h, const dirty_call *call) {
    h->scope.call = call;
    h->scope.app = h->start->apps[call->app]->name;
    lua_pushvalue(h->L, SLOT_CALL);
    lua_rawgeti(h->L, SLOT_APPS, dirty__object_at(call->app));
    lua_rawgeti(h->L, SLOT_APPS, dirty__object_at(call->app) + 1);
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
    dirty_host *h = dirty__upvalue_host(L);
    lua_pushboolean(L, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, h->scope.metadata);
    dirty__push_lane(h, "tidy");
    lua_call(L, 0, 0);
    return 0;
}

static int collect(lua_State *L) {
    dirty_lua_memory_collect(&dirty__upvalue_host(L)->memory, L);
    return 0;
}

/* Between requests; what finalizers raise has nobody to be told to. */
static void run_slot(dirty_host *h, int slot) {
    dirty__drop_hook(h->L);
    lua_pushvalue(h->L, slot);
    lua_pcall(h->L, 0, 0, 0);
    dirty_guest_end("a finalizer");
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
