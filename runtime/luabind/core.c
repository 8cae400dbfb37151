#include "luabind/core.h"

#include <stdbool.h>
#include <string.h>

#include "client/internal.h"
#include "luabind/compat.h"

#define HANDLE "dirty.core.handle"
#define REPLY "dirty.core.reply"
#define STREAM "dirty.core.stream"
/* Up to this many tags are kept on the C stack. */
#define TAGS_FEW 64

/* Memory that C holds while Lua may raise or collect garbage is in a userdata with a
 * __gc. All calls share one request: it is filled and used only where Lua does
 * neither. */
typedef struct handle {
    dirty_client *client;
    dirty_request *request;
} handle;

/* -- Handles ------------------------------------------------------------------------ */

static handle *check_handle(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    if (h->client == NULL)
        luaL_error(L, "the client is gone: its state is closing");
    return h;
}

static int handle_gc(lua_State *L) {
    handle *h = luaL_checkudata(L, 1, HANDLE);
    dirty_request_free(h->request);
    dirty_free(h->client);
    *h = (handle){0};
    return 0;
}

static int core_open(lua_State *L) {
    dirty_options options;
    dirty_options_init(&options);
    options.socket = luaL_optstring(L, 1, NULL);
    options.timeout_ms = (uint32_t)luaL_checknumber(L, 2);
    options.max_message = (uint32_t)luaL_checknumber(L, 3);
    handle *h = lua_newuserdata(L, sizeof *h);
    *h = (handle){0};
    luaL_getmetatable(L, HANDLE);
    lua_setmetatable(L, -2);
    dirty_open(&h->client, &options);
    if (h->client == NULL || dirty_request_new(&h->request, "-", "-") < 0)
        return luaL_error(L, "no memory for a client");
    return 1;
}

static int core_close(lua_State *L) {
    dirty_close(check_handle(L)->client);
    return 0;
}

static int core_socket(lua_State *L) {
    lua_pushstring(L, dirty_socket(check_handle(L)->client));
    return 1;
}

/* -- Signals ------------------------------------------------------------------------- */

/* Its address is the registry key of a Lua function of a few instructions. */
static const char few_instructions;

/* A call that waits for its answer. */
typedef struct waiting {
    lua_State *L;
    dirty_client *client;
    bool raised; /* a hook has raised; its error is on top of the stack */
} waiting;

/* [-0, +0, m] */
static void make_few_instructions(lua_State *L) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)&few_instructions);
    static const char code[] = "local x = 1 return x";
    if (luaL_loadbuffer(L, code, sizeof code - 1, "=(waiting)") != 0)
        lua_error(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

/* Run when a signal came. Its handler may have set a hook (^C of an interpreter, a
 * deadline of a lane), which only runs at a Lua instruction. So run a few. An error that
 * the hook raises ends the call. */
static bool meet_hook(void *ctx) {
    waiting *w = ctx;
    lua_State *L = w->L;
    if (w->raised || lua_gethook(L) == NULL)
        return w->raised;
    lua_pushlightuserdata(L, (void *)(uintptr_t)&few_instructions);
    lua_rawget(L, LUA_REGISTRYINDEX);
    w->raised = lua_pcall(L, 0, 0, 0) != 0;
    return w->raised;
}

static void begin_waiting(waiting *w, lua_State *L, dirty_client *c) {
    *w = (waiting){.L = L, .client = c};
    dirty_client_on_signal(c, meet_hook, w);
}

/* Raise the hook's error, if there is one. [-0, +0, e] */
static void end_waiting(const waiting *w) {
    dirty_client_on_signal(w->client, NULL, NULL);
    if (w->raised)
        lua_error(w->L);
}

/* -- Calls -------------------------------------------------------------------------- */

/* Stack positions of the arguments of core_call. */
enum { HANDLE_AT = 1, APP_AT, ACTION_AT, SETTINGS_AT, ARGS_AT, COUNT_AT, TAGS_AT };

static lua_Number number_setting(lua_State *L, const char *name) {
    lua_getfield(L, SETTINGS_AT, name);
    lua_Number n = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return n;
}

/* Add the arguments. The strings are borrowed from the tables that hold them.
 * [-0, +0, m] */
static void add_args(lua_State *L, dirty_request *r) {
    size_t len, tags_len = 0;
    const char *tags = lua_tolstring(L, TAGS_AT, &tags_len);
    int count = (int)lua_tonumber(L, COUNT_AT);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, ARGS_AT, i);
        const char *text = lua_tolstring(L, -1, &len);
        if (tags != NULL && (size_t)i <= tags_len && tags[i - 1] == DIRTY_JSON)
            dirty_request_add_json(r, text, len);
        else
            dirty_request_add_bytes(r, text, len);
        lua_pop(L, 1);
    }
}

static int fill_request(lua_State *L, dirty_request *r) {
    size_t len;
    const char *action = lua_tostring(L, ACTION_AT);
    int rc = lua_isnil(L, APP_AT)
                 ? dirty_request_reset_arbiter(r, action)
                 : dirty_request_reset(r, lua_tostring(L, APP_AT), action);
    if (rc < 0)
        return rc;
    dirty_request_set_budget_ms(r, (uint32_t)number_setting(L, "budget_ms"));
    dirty_request_set_priority(r, (int)number_setting(L, "priority"));
    lua_getfield(L, SETTINGS_AT, "metadata");
    const char *metadata = lua_tolstring(L, -1, &len);
    if (metadata != NULL)
        dirty_request_set_metadata(r, metadata, len);
    lua_pop(L, 1);
    add_args(L, r);
    return 0;
}

/* [-0, +6, m] */
static int push_failure(lua_State *L, const dirty_client *c) {
    lua_pushboolean(L, 0);
    lua_pushstring(L, dirty_err_name(dirty_err(c)));
    lua_pushlstring(L, dirty_errmsg(c), dirty_errmsg_len(c));
    lua_pushstring(L, dirty_err_details(c));
    lua_pushstring(L, dirty_err_started(c));
    lua_pushinteger(L, dirty_err_http_status(dirty_err(c)));
    return 6;
}

/* [-0, +1, m] Push the tags as a string; nil if all values are bytes. */
static void push_tags(lua_State *L, const dirty_reply *reply) {
    const char *data;
    size_t len, count = dirty_reply_count(reply);
    char few[TAGS_FEW];
    char *tags = count <= sizeof few ? few : lua_newuserdata(L, count);
    bool has_json = false;
    for (size_t i = 0; i < count; i++) {
        tags[i] = (char)dirty_reply_value(reply, i, &data, &len);
        has_json |= tags[i] == DIRTY_JSON;
    }
    if (has_json)
        lua_pushlstring(L, tags, count);
    else
        lua_pushnil(L);
    if (tags != few)
        lua_remove(L, -2);
}

/* [-0, +6, m] */
static int push_too_many(lua_State *L, size_t count) {
    lua_pushboolean(L, 0);
    lua_pushstring(L, dirty_err_name(DIRTY_EPROTOCOL));
    lua_pushfstring(L, "the reply has %d values, more than Lua's stack can hold",
                    (int)count);
    lua_pushliteral(L, "{\"phase\":\"client\"}");
    lua_pushliteral(L, "yes");
    lua_pushinteger(L, dirty_err_http_status(DIRTY_EPROTOCOL));
    return 6;
}

/* [-0, +1 + count, m] */
static int push_reply(lua_State *L, const dirty_reply *reply) {
    const char *data;
    size_t len, count = dirty_reply_count(reply);
    if (!lua_checkstack(L, (int)count + 3))
        return push_too_many(L, count);
    push_tags(L, reply);
    for (size_t i = 0; i < count; i++) {
        dirty_reply_value(reply, i, &data, &len);
        lua_pushlstring(L, data, len);
    }
    return (int)count + 1;
}

static int reply_gc(lua_State *L) {
    dirty_reply **box = luaL_checkudata(L, 1, REPLY);
    dirty_reply_free(*box);
    *box = NULL;
    return 0;
}

/* Push an empty userdata that holds a C object for Lua's collector. [-0, +1, m] */
static void *push_box(lua_State *L, const char *type) {
    void *box = lua_newuserdata(L, sizeof(void *));
    memset(box, 0, sizeof(void *));
    luaL_getmetatable(L, type);
    lua_setmetatable(L, -2);
    return box;
}

/* Push the values of the reply in a box, and free the reply. [-0, +1 + count, m] */
static int unbox_reply(lua_State *L, dirty_reply **box) {
    int n = push_reply(L, *box);
    dirty_reply_free(*box);
    *box = NULL;
    return n;
}

/* Get the handle with its request filled from the arguments of a call. [-0, +0, m] */
static handle *check_call(lua_State *L) {
    handle *h = check_handle(L);
    luaL_checktype(L, SETTINGS_AT, LUA_TTABLE);
    luaL_checktype(L, ARGS_AT, LUA_TTABLE);
    lua_settop(L, TAGS_AT);
    if (fill_request(L, h->request) < 0)
        luaL_error(L, "bad name of an app or action");
    return h;
}

static int core_call(lua_State *L) {
    handle *h = check_call(L);
    dirty_reply **box = push_box(L, REPLY);
    waiting w;
    begin_waiting(&w, L, h->client);
    int rc = dirty_call(h->client, h->request, box);
    end_waiting(&w);
    if (rc < 0)
        return push_failure(L, h->client);
    return unbox_reply(L, box);
}

/* -- Streams ------------------------------------------------------------------------ */

static int stream_gc(lua_State *L) {
    dirty_stream **box = luaL_checkudata(L, 1, STREAM);
    dirty_stream_close(*box);
    *box = NULL;
    return 0;
}

static int core_stream(lua_State *L) {
    handle *h = check_call(L);
    dirty_stream **box = push_box(L, STREAM);
    waiting w;
    begin_waiting(&w, L, h->client);
    int rc = dirty_stream_open(h->client, h->request, box);
    end_waiting(&w);
    return rc < 0 ? push_failure(L, h->client) : 1;
}

static int core_next(lua_State *L) {
    handle *h = check_handle(L);
    dirty_stream **stream = luaL_checkudata(L, 2, STREAM);
    if (*stream == NULL)
        return 0;
    dirty_reply **box = push_box(L, REPLY);
    waiting w;
    begin_waiting(&w, L, h->client);
    int rc = dirty_stream_next(*stream, box);
    end_waiting(&w);
    if (rc < 0)
        return push_failure(L, h->client);
    return rc == 0 ? 0 : unbox_reply(L, box);
}

/* -- Module ------------------------------------------------------------------------- */

static int core_default_socket(lua_State *L) {
    char path[4096];
    if (dirty_default_socket(path, sizeof path) < 0)
        return luaL_error(L, "the default socket path is longer than %d bytes",
                          (int)sizeof path - 1);
    lua_pushstring(L, path);
    return 1;
}

static int core_version(lua_State *L) {
    lua_pushstring(L, dirty_version());
    return 1;
}

/* [-0, +0, m] */
static void new_type(lua_State *L, const char *name, lua_CFunction gc) {
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

int luaopen_dirty_core(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"open", core_open},       {"call", core_call},
        {"stream", core_stream},   {"next", core_next},
        {"leave", stream_gc},      {"close", core_close},
        {"socket", core_socket},   {"default_socket", core_default_socket},
        {"version", core_version}, {NULL, NULL}};
    new_type(L, HANDLE, handle_gc);
    new_type(L, REPLY, reply_gc);
    new_type(L, STREAM, stream_gc);
    make_few_instructions(L);
    dirty_lua_newlib(L, functions);
    return 1;
}
