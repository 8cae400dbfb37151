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
#include "worker/lua_call.h"
#include "worker/lua_error.h"
#include "worker/lua_state.h"
#include "worker/lua_modules.h"
#include "worker/worker.h"

/* -- State ------------------------------------------------------------------------ */

/* A Lua error outside of a protected call: memory is out, or the runtime has a bug. */
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

/* The same with the parts of `path` that don't depend on the working directory.
 * [-0, +0, m] */
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

static int collectgarbage(lua_State *L);

/* Replace Lua's collectgarbage by ours. [-0, +0, e] */
static void take_collectgarbage(lua_State *L, dirty_host *h) {
    dirty_lua_collector_open(&h->collector, &h->memory, L);
    lua_pushlightuserdata(L, h);
    lua_getglobal(L, "collectgarbage");
    lua_pushcclosure(L, collectgarbage, 2);
    lua_setglobal(L, "collectgarbage");
}

/* The part of opening that can raise. */
static int open_state(lua_State *L) {
    dirty_host *h = lua_touserdata(L, 1);
    luaL_openlibs(L);
    /* Load our own modules and lua-cjson with absolute paths only: never from the
     * directory where the apps are. */
    set_absolute_path(L, "path", h->start->lua_path);
    set_absolute_path(L, "cpath", h->start->lua_cpath);
    dirty_lua_modules_open(L);
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
    h->codec.misfit = ref_field(L, lane, "misfit");
    h->lane = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushboolean(L, 0);
    h->scope.metadata = luaL_ref(L, LUA_REGISTRYINDEX);
    take_collectgarbage(L, h);
    return 0;
}

static int push_slots(lua_State *L) {
    static const lua_CFunction slots[] = {dirty__on_error, dirty__run_call,
                                          dirty__run_step, dirty__describe};
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

/* Run `function` with the host as its argument. Its results stay on the stack. Returns
 * the status of lua_pcall. The collector must be stopped, because a finalizer could
 * raise. */
static int run_protected(dirty_host *h, lua_CFunction function) {
    lua_pushcfunction(h->L, function);
    lua_pushlightuserdata(h->L, h);
    return lua_pcall(h->L, 1, LUA_MULTRET, 0);
}

/* The heap is larger than the steps between calls keep it. Called by the allocator. */
static void on_garbage(void *ctx) {
    dirty_interrupt_collect(&((dirty_host *)ctx)->interrupt);
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
    h->memory.over = on_garbage;
    h->memory.over_ctx = h;
    lua_atpanic(h->L, panic);
    lua_gc(h->L, LUA_GCSTOP, 0); /* nothing is garbage while the state is built */
    if (run_protected(h, push_slots) != 0 || run_protected(h, open_state) != 0) {
        const char *text = lua_tostring(h->L, -1);
        dirty_buf_append_cstr(why, text ? text : "unknown error");
        dirty_host_close(h);
        return -EINVAL;
    }
    lua_settop(h->L, SLOT_BASE);
    lua_gc(h->L, LUA_GCRESTART, 0);
    dirty_lua_collector_put_off(&h->collector, h->L);
    *out = h;
    return 0;
}

static bool any_interruptible(const dirty_worker_start *start) {
    for (uint32_t i = 0; i < start->app_count; i++)
        if (start->apps[i]->interruptible)
            return true;
    return false;
}

/* collectgarbage([option [, number]]) as in Lua, but it raises no finalizer's error. */
static int collectgarbage(lua_State *L) {
    dirty_host *h = dirty__upvalue_host(L);
    const char *option = luaL_optstring(L, 1, "collect");
    if (strcmp(option, "collect") == 0) {
        dirty__collect(h, L, true);
        lua_pushinteger(L, 0);
        return 1;
    }
    if (strcmp(option, "step") == 0) {
        int kib = (int)luaL_optinteger(L, 2, 0);
        lua_pushboolean(L, dirty__collect_turn(h, L, kib));
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    if (strcmp(option, "count") != 0)
        dirty_lua_collector_put_off(&h->collector, L);
    return lua_gettop(L);
}

/* Called in a hook, during a call. */
static void on_turn(void *ctx, lua_State *L, bool all) {
    dirty__collect(ctx, L, all);
}

int dirty_host_listen(dirty_host *h, dirty_lane_page *page, bool first) {
    dirty_interrupt_options options = {.page = page,
                                       .compiled = first && any_interruptible(h->start),
                                       .max_memory = h->start->max_memory_bytes,
                                       .collect = on_turn,
                                       .collect_ctx = h};
    h->collector.limit_bytes = h->start->max_memory_bytes;
    h->scope.page = page;
    return dirty_interrupt_open(&h->interrupt, h->L, &options);
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

/* -- Calls ------------------------------------------------------------------------ */

/* Fail an interrupted call. What it returned or raised does not count. */
static dirty_outcome end_interrupted(dirty_host *h) {
    const dirty_call *call = h->scope.call;
    dirty_interrupt_tell(&h->interrupt, h->scope.app, call->action, call->arrived_ns,
                         &h->failure);
    return DIRTY_OUTCOME_FAILED;
}

/* Call the function that is on the stack below its `args` arguments. */
static dirty_outcome run(dirty_host *h, int args) {
    dirty_lane_error_set(&h->failure, DIRTY_CODE_APP, "yes");
    h->outcome = DIRTY_OUTCOME_FAILED;
    h->of_finalizer = false;
    dirty__drop_hook(h->L); /* a finalizer may have set one */
    dirty_interrupt_enter(&h->interrupt, h->scope.call->seq);
    int status = lua_pcall(h->L, args, LUA_MULTRET, SLOT_ON_ERROR);
    dirty_guest_end(h->scope.app);
    if (status != 0) /* it did not reach dirty__leave_app */
        dirty_pin_thread();
    if (dirty__end_app(h) != DIRTY_CODE_NONE)
        return end_interrupted(h);
    if (status != 0)
        h->outcome = DIRTY_OUTCOME_FAILED;
    return h->outcome == DIRTY_OUTCOME_FAILED ? dirty__fail(h, status) : h->outcome;
}

bool dirty_host_has_alarm(const dirty_host *h) {
    return h->interrupt.has_alarm;
}

void dirty_host_bound(dirty_host *h, uint64_t deadline_ns) {
    dirty_interrupt_bound(&h->interrupt, deadline_ns);
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

/* Stack slots of the stream that a call has returned. */
enum { SLOT_FUNCTION = SLOT_BASE + 1, SLOT_STATE, SLOT_CONTROL, SLOT_VALUES };

dirty_outcome dirty_host_next(dirty_host *h) {
    lua_State *L = h->L;
    if (dirty_lua_collector_is_due(&h->collector))
        dirty__collect(h, L, false);
    if (lua_gettop(L) >=
        SLOT_VALUES) { /* the first value of the last step is the next control */
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

/* Drop the metadata of the request. Its slot of the registry exists, so this allocates
 * nothing. [-0, +0, -] */
static void drop_metadata(dirty_host *h) {
    lua_pushboolean(h->L, 0);
    lua_rawseti(h->L, LUA_REGISTRYINDEX, h->scope.metadata);
}

/* Collect between calls: what is due of the garbage and of the large strings. */
static void collect(dirty_host *h) {
    bool has_large = h->memory.used_bytes + h->memory.kept_bytes > 0;
    if (has_large && dirty_lua_memory_tidy(&h->memory, dirty_host_bytes(h))) {
        dirty__collect(h, h->L, true);
        dirty_lua_memory_collected(&h->memory);
    } else if (dirty_lua_collector_is_due(&h->collector)) {
        dirty__collect(h, h->L, false);
    } else if (dirty_lua_collector_is_loose(&h->collector)) {
        dirty_lua_collector_put_off(&h->collector, h->L);
    }
}

void dirty_host_release(dirty_host *h) {
    lua_settop(h->L, SLOT_BASE);
    if (h->scope.call != NULL && h->scope.call->metadata.base != NULL)
        drop_metadata(h);
    h->scope.call = NULL;
    h->scope.app = NULL;
    dirty_interrupt_release(&h->interrupt);
    dirty_lua_memory_unseat(&h->memory);
    collect(h);
}

void dirty_host_release_all(dirty_host *h) {
    dirty_host_release(h);
    /* The limit was checked while the call still held its values. Nothing since tells
     * that they are garbage now. */
    dirty_interrupt_has_room(&h->interrupt);
}

uint64_t dirty_host_bytes(const dirty_host *h) {
    return h->memory.held_bytes & ~(uint64_t)1023;
}
