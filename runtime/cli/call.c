#include "cli/call.h"

#include <dirty.h>
#include <lauxlib.h>
#include <stdbool.h>

/* The C objects of a call, in a userdata: they are freed even if Lua raises. */
struct call {
    dirty_client *client;
    dirty_request *request;
    dirty_reply *reply;
    dirty_stream *stream;
};

#define CALL_TYPE "dirty.sys.call"

static int free_call(lua_State *L) {
    struct call *call = luaL_checkudata(L, 1, CALL_TYPE);
    dirty_stream_close(call->stream);
    dirty_reply_free(call->reply);
    dirty_request_free(call->request);
    dirty_free(call->client);
    *call = (struct call){0};
    return 0;
}

static struct call *push_call(lua_State *L) {
    struct call *call = lua_newuserdata(L, sizeof *call);
    *call = (struct call){0};
    if (luaL_newmetatable(L, CALL_TYPE)) {
        lua_pushcfunction(L, free_call);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return call;
}

/* The string field `name` of the table at `index`, which keeps it. NULL if nil.
 * [-0, +0] */
static const char *field(lua_State *L, int index, const char *name, size_t *len) {
    lua_getfield(L, index, name);
    const char *text = lua_tolstring(L, -1, len);
    lua_pop(L, 1);
    return text;
}

static lua_Number number(lua_State *L, int index, const char *name,
                         lua_Number otherwise) {
    lua_getfield(L, index, name);
    lua_Number value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : otherwise;
    lua_pop(L, 1);
    return value;
}

static int open_client(lua_State *L, struct call *call) {
    dirty_options options;
    dirty_options_init(&options);
    options.socket = field(L, 1, "socket", NULL);
    options.timeout_ms = (uint32_t)number(L, 1, "timeout_ms", options.timeout_ms);
    options.max_message = (uint32_t)number(L, 1, "max_message", options.max_message);
    return dirty_open(&call->client, &options);
}

/* Add the {tag, data} at the top of the stack. [-0, +0] */
static int add_value(lua_State *L, dirty_request *request) {
    size_t len;
    int pair = lua_gettop(L);
    luaL_checktype(L, pair, LUA_TTABLE);
    lua_rawgeti(L, pair, 1);
    lua_rawgeti(L, pair, 2);
    bool is_bytes = *luaL_checkstring(L, -2) == DIRTY_BYTES;
    const char *data = luaL_checklstring(L, -1, &len);
    lua_settop(L, pair);
    return is_bytes ? dirty_request_add_bytes(request, data, len)
                    : dirty_request_add_json(request, data, len);
}

static int fill_request(lua_State *L, dirty_request *request) {
    size_t len;
    const char *metadata = field(L, 1, "metadata", &len);
    if (metadata != NULL)
        dirty_request_set_metadata(request, metadata, len);
    lua_Number priority = number(L, 1, "priority", -1);
    if (priority >= 0 && dirty_request_set_priority(request, (int)priority) != 0)
        return luaL_error(L, "priority %f", priority);
    lua_getfield(L, 1, "args");
    luaL_checktype(L, -1, LUA_TTABLE);
    int count = (int)lua_objlen(L, -1);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        add_value(L, request); /* the request keeps a failure */
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return 0;
}

static int push_failure(lua_State *L, const dirty_client *client) {
    lua_pushnil(L);
    lua_createtable(L, 0, 4);
    lua_pushstring(L, dirty_err_name(dirty_err(client)));
    lua_setfield(L, -2, "code");
    lua_pushlstring(L, dirty_errmsg(client), dirty_errmsg_len(client));
    lua_setfield(L, -2, "message");
    lua_pushstring(L, dirty_err_details(client));
    lua_setfield(L, -2, "details");
    lua_pushstring(L, dirty_err_started(client));
    lua_setfield(L, -2, "started");
    return 2;
}

static int push_reply(lua_State *L, const dirty_reply *reply) {
    size_t count = dirty_reply_count(reply);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        size_t len;
        const char *data;
        char tag = (char)dirty_reply_value(reply, i, &data, &len);
        lua_createtable(L, 2, 0);
        lua_pushlstring(L, &tag, 1);
        lua_rawseti(L, -2, 1);
        lua_pushlstring(L, data, len);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* Make client and request from the table that is the only argument. The userdata on top
 * of the stack holds both. Returns 0, or the code if the client can't be made. */
static int prepare(lua_State *L, struct call **out) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct call *call = *out = push_call(L);
    if (open_client(L, call) != 0)
        return dirty_err(call->client);
    const char *app = field(L, 1, "app", NULL), *action = field(L, 1, "action", NULL);
    if (action == NULL)
        return luaL_error(L, "action must be a string");
    int rc = app != NULL ? dirty_request_new(&call->request, app, action)
                         : dirty_request_new_arbiter(&call->request, action);
    if (rc == DIRTY_EMEMORY)
        return luaL_error(L, "not enough memory");
    if (rc != 0)
        return luaL_error(L, "%s or %s is not a valid name", app ? app : "@arbiter",
                          action);
    return fill_request(L, call->request);
}

static int call(lua_State *L) {
    struct call *call;
    if (prepare(L, &call) != 0 ||
        dirty_call(call->client, call->request, &call->reply) != 0)
        return push_failure(L, call->client);
    return push_reply(L, call->reply);
}

static int stream(lua_State *L) {
    struct call *call;
    if (prepare(L, &call) != 0 ||
        dirty_stream_open(call->client, call->request, &call->stream) != 0)
        return push_failure(L, call->client);
    return 1;
}

static int next_chunk(lua_State *L) {
    struct call *call = luaL_checkudata(L, 1, CALL_TYPE);
    dirty_reply_free(call->reply);
    call->reply = NULL;
    int rc = dirty_stream_next(call->stream, &call->reply);
    if (rc < 0)
        return push_failure(L, call->client);
    return rc > 0 ? push_reply(L, call->reply) : 0;
}

static int default_socket(lua_State *L) {
    char path[4096];
    if (dirty_default_socket(path, sizeof path) != 0)
        return luaL_error(L, "the default socket's path is longer than %d bytes",
                          (int)sizeof path - 1);
    lua_pushstring(L, path);
    return 1;
}

void dirty_cli_call_register(lua_State *L) {
    static const luaL_Reg functions[] = {{"call", call},
                                         {"stream", stream},
                                         {"next_chunk", next_chunk},
                                         {"default_socket", default_socket},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
