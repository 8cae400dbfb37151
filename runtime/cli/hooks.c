#include "cli/hooks.h"

#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/capture.h"
#include "base/guest.h"
#include "base/log.h"
#include "worker/pin.h"

/* The hooks of one configuration: `ctx` of the functions below. The collector owns it. */
typedef struct hook_set {
    lua_State *L;
    int table; /* reference in the registry */
} hook_set;

/* One call of a hook. Only the arguments that the hook takes are set. */
struct hook_call {
    const hook_set *set;
    const char *name;
    void (*push_first)(lua_State *L, const struct hook_call *call);
    pid_t pid;
    uint32_t number, generation, app_count;
    const dirty_app_spec *const *apps;
    bool has_status;
    int wait_status;
};

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void push_arbiter(lua_State *L, const struct hook_call *call) {
    lua_createtable(L, 0, 1);
    set_integer(L, "pid", call->pid);
}

static void push_worker(lua_State *L, const struct hook_call *call) {
    lua_createtable(L, 0, 4);
    set_integer(L, "number", call->number);
    set_integer(L, "generation", call->generation);
    set_integer(L, "pid", call->pid);
    lua_createtable(L, (int)call->app_count, 0);
    for (uint32_t i = 0; i < call->app_count; i++) {
        lua_pushstring(L, call->apps[i]->name);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "apps");
}

static void push_status(lua_State *L, int wait_status) {
    lua_createtable(L, 0, 2);
    if (WIFSIGNALED(wait_status)) {
        const char *name = sigabbrev_np(WTERMSIG(wait_status));
        set_integer(L, "signal", WTERMSIG(wait_status));
        lua_pushfstring(L, "SIG%s", name != NULL ? name : "?");
        lua_setfield(L, -2, "name");
    } else {
        set_integer(L, "exit", WEXITSTATUS(wait_status));
    }
}

static int add_traceback(lua_State *L) {
    const char *message = lua_tostring(L, 1);
    if (message == NULL)
        message = lua_pushfstring(L, "(an error that is a %s)", luaL_typename(L, 1));
    luaL_traceback(L, L, message, 1);
    return 1;
}

/* All steps of a call that may raise. [-1, +0] */
static int call_protected(lua_State *L) {
    const struct hook_call *call = lua_touserdata(L, 1);
    lua_pushcfunction(L, add_traceback);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->set->table);
    lua_getfield(L, -1, call->name);
    lua_remove(L, -2);
    call->push_first(L, call);
    if (call->has_status)
        push_status(L, call->wait_status);
    if (lua_pcall(L, call->has_status ? 2 : 1, 0, 2) != 0)
        lua_error(L);
    return 0;
}

static void run_hook(const hook_set *set, struct hook_call *call) {
    lua_State *L = set->L;
    call->set = set;
    int top = lua_gettop(L);
    lua_gc(L, LUA_GCRESTART, 0); /* the arbiter has stopped it (cli/config_source.h) */
    dirty_guest_begin();
    int rc = lua_cpcall(L, call_protected, call);
    dirty_guest_end(call->name);
    if (rc != 0) {
        const char *message = lua_tostring(L, -1);
        dirty_log(DIRTY_LOG_ERROR, "a hook raised an error", "hook=%s error=%s",
                  call->name,
                  DIRTY_LOG_QUOTE(message != NULL ? message : "(no message)"));
    }
    lua_settop(L, top);
    dirty_pin_thread();
    fflush(stdout); /* flush its output, or a later fork would copy the buffer */
}

static void on_starting(void *ctx, pid_t arbiter_pid) {
    struct hook_call call = {
        .name = "on_starting", .push_first = push_arbiter, .pid = arbiter_pid};
    lua_State *L = ((hook_set *)ctx)->L;
    dirty_capture_begin();
    run_hook(ctx, &call);
    lua_gc(L, LUA_GCCOLLECT, 0); /* see cli/config_source.h */
    fflush(NULL); /* flush what it wrote to files, or forked processes would write it
                     again */
    dirty_capture_end();
    lua_gc(L, LUA_GCSTOP, 0);
}

static struct hook_call worker_call(const char *name, const dirty_worker_info *worker) {
    return (struct hook_call){.name = name,
                              .push_first = push_worker,
                              .pid = worker->pid,
                              .number = worker->number,
                              .generation = worker->generation,
                              .app_count = worker->app_count,
                              .apps = worker->apps};
}

static void post_fork(void *ctx, const dirty_worker_info *worker) {
    struct hook_call call = worker_call("post_fork", worker);
    run_hook(ctx, &call);
}

static void worker_init(void *ctx, const dirty_worker_start *start) {
    dirty_worker_info worker = {.number = start->number,
                                .generation = start->generation,
                                .pid = getpid(),
                                .app_count = start->app_count,
                                .apps = start->apps};
    struct hook_call call = worker_call("worker_init", &worker);
    run_hook(ctx, &call);
}

static void worker_exit(void *ctx, const dirty_worker_info *worker, int wait_status) {
    struct hook_call call = worker_call("worker_exit", worker);
    call.has_status = true;
    call.wait_status = wait_status;
    run_hook(ctx, &call);
}

static bool has_hook(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    bool is_function = lua_isfunction(L, -1);
    lua_pop(L, 1);
    return is_function;
}

static int free_set(lua_State *L) {
    const hook_set *set = lua_touserdata(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, set->table);
    return 0;
}

static hook_set *push_set(lua_State *L, int index) {
    hook_set *set = lua_newuserdata(L, sizeof *set);
    *set = (hook_set){.L = L, .table = LUA_NOREF};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_set);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, index);
    set->table = luaL_ref(L, LUA_REGISTRYINDEX);
    return set;
}

void dirty_hooks_push(lua_State *L, int index, dirty_hooks *out) {
    luaL_checktype(L, index, LUA_TTABLE);
    *out = (dirty_hooks){
        .ctx = push_set(L, index),
        .on_starting = has_hook(L, index, "on_starting") ? on_starting : NULL,
        .post_fork = has_hook(L, index, "post_fork") ? post_fork : NULL,
        .worker_init = has_hook(L, index, "worker_init") ? worker_init : NULL,
        .worker_exit = has_hook(L, index, "worker_exit") ? worker_exit : NULL,
    };
}
