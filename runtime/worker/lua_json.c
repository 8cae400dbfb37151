#include "worker/lua_json.h"

#include <limits.h>
#include <math.h>
#include <stdbool.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/buf.h"
#include "base/number.h"

/* Free the buffer after a text if it is larger than this. */
#define KEEP_BYTES (1u << 20)
/* Lua stack slots per table: key, value, and a text for an error. */
#define SLOTS_PER_TABLE 3

/* lua-cjson's default limits for arrays with holes. An array whose highest index is over
 * SAFE may not have more than RATIO places per element. */
#define SPARSE_RATIO 2
#define SPARSE_SAFE 10

/* Upvalues of encode. */
enum { UP_WRITER = 1, UP_ARRAY_MT, UP_EMPTY_ARRAY_MT, UP_COUNT = 3 };

typedef struct writer {
    dirty_buf text; /* owned; free_writer frees it as __gc */
    const void
        *empty_array; /* borrowed: cjson.empty_array; NULL: this lua-cjson has none */
    int max_depth;
} writer;

/* -- Values ----------------------------------------------------------------------- */

static int refuse(lua_State *L, int index, const char *reason) {
    return luaL_error(L, "Cannot serialise %s: %s", luaL_typename(L, index), reason);
}

static void put_number(lua_State *L, writer *w, int index) {
    char text[DIRTY_NUMBER_TEXT_MAX];
    size_t len = dirty_number_format(text, lua_tonumber(L, index));
    if (len == 0)
        refuse(L, index, "must not be NaN or Inf");
    dirty_buf_append(&w->text, text, len);
}

static void put_escape(writer *w, unsigned char c) {
    static const char names[] = "\bb\tt\nn\ff\rr\"\"\\\\//";
    for (const char *name = names; *name; name += 2) {
        if ((unsigned char)name[0] == c) {
            dirty_buf_append(&w->text, (char[]){'\\', name[1]}, 2);
            return;
        }
    }
    dirty_buf_printf(&w->text, "\\u%04x", c);
}

static bool is_escaped(unsigned char c) {
    return c < 0x20 || c == '"' || c == '\\' || c == '/' || c == 0x7f;
}

static void put_string(lua_State *L, writer *w, int index) {
    size_t len, from = 0;
    const char *text = lua_tolstring(L, index, &len);
    dirty_buf_append(&w->text, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        if (!is_escaped((unsigned char)text[i]))
            continue;
        dirty_buf_append(&w->text, text + from, i - from);
        put_escape(w, (unsigned char)text[i]);
        from = i + 1;
    }
    dirty_buf_append(&w->text, text + from, len - from);
    dirty_buf_append(&w->text, "\"", 1);
}

/* The highest index of the array on top; 0 if it is empty, -1 if it is an object. */
static int array_length(lua_State *L) {
    int count = 0;
    double highest = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        double key = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        if (key < 1 || key > INT_MAX || key != floor(key)) {
            lua_pop(L, 2);
            return -1;
        }
        count++;
        highest = key > highest ? key : highest;
    }
    if (highest > SPARSE_SAFE && highest > (double)count * SPARSE_RATIO)
        refuse(L, -1, "excessively sparse array");
    return (int)highest;
}

static void put_value(lua_State *L, writer *w, int depth);

/* Write the elements 1..length of the table on top. */
static void put_array(lua_State *L, writer *w, int depth, int length) {
    dirty_buf_append(&w->text, "[", 1);
    for (int i = 1; i <= length; i++) {
        if (i > 1)
            dirty_buf_append(&w->text, ",", 1);
        lua_rawgeti(L, -1, i);
        put_value(L, w, depth);
        lua_pop(L, 1);
    }
    dirty_buf_append(&w->text, "]", 1);
}

/* Write the key. lua_tolstring must not be called on a number key: it would change the
 * key that lua_next needs. */
static void put_key(lua_State *L, writer *w) {
    switch (lua_type(L, -2)) {
    case LUA_TSTRING: put_string(L, w, -2); break;
    case LUA_TNUMBER:
        dirty_buf_append(&w->text, "\"", 1);
        put_number(L, w, -2);
        dirty_buf_append(&w->text, "\"", 1);
        break;
    default: refuse(L, -2, "table key must be a number or string");
    }
}

static void put_object(lua_State *L, writer *w, int depth) {
    const char *before = "{";
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        dirty_buf_append(&w->text, before, 1);
        put_key(L, w);
        dirty_buf_append(&w->text, ":", 1);
        put_value(L, w, depth);
        before = ",";
    }
    dirty_buf_append_cstr(&w->text, *before == '{' ? "{}" : "}");
}

/* Whether the metatable of the table on top is the one in `upvalue`. */
static bool is_marked(lua_State *L, int upvalue) {
    if (!lua_getmetatable(L, -1))
        return false;
    bool is = lua_rawequal(L, -1, lua_upvalueindex(upvalue));
    lua_pop(L, 1);
    return is;
}

static void put_table(lua_State *L, writer *w, int depth) {
    if (depth > w->max_depth || !lua_checkstack(L, SLOTS_PER_TABLE))
        luaL_error(L, "Cannot serialise, excessive nesting (%d)", depth);
    bool marked = is_marked(L, UP_ARRAY_MT);
    int length = marked ? (int)lua_objlen(L, -1) : array_length(L);
    if (marked || length > 0 || (length == 0 && is_marked(L, UP_EMPTY_ARRAY_MT)))
        put_array(L, w, depth, length);
    else
        put_object(L, w, depth);
}

/* Write the value on top, which is inside of `depth` tables. [-0, +0, e] */
static void put_value(lua_State *L, writer *w, int depth) {
    switch (lua_type(L, -1)) {
    case LUA_TSTRING: put_string(L, w, -1); return;
    case LUA_TNUMBER: put_number(L, w, -1); return;
    case LUA_TTABLE: put_table(L, w, depth + 1); return;
    case LUA_TNIL: dirty_buf_append_cstr(&w->text, "null"); return;
    case LUA_TBOOLEAN:
        dirty_buf_append_cstr(&w->text, lua_toboolean(L, -1) ? "true" : "false");
        return;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, -1) == NULL)
            dirty_buf_append_cstr(&w->text, "null");
        else if (lua_touserdata(L, -1) == w->empty_array)
            dirty_buf_append_cstr(&w->text, "[]");
        else
            break;
        return;
    default: break;
    }
    refuse(L, -1, "type not supported");
}

/* -- The encoder ------------------------------------------------------------------ */

static int encode(lua_State *L) {
    writer *w = lua_touserdata(L, lua_upvalueindex(UP_WRITER));
    lua_settop(L, 1);
    w->text.len = 0;
    w->text.failed = false;
    put_value(L, w, 0);
    if (dirty_buf_failed(&w->text))
        return luaL_error(L, "not enough memory");
    lua_pushlstring(L, (const char *)w->text.base, w->text.len);
    if (w->text.cap > KEEP_BYTES)
        dirty_buf_deinit(&w->text);
    return 1;
}

static int free_writer(lua_State *L) {
    writer *w = lua_touserdata(L, 1);
    dirty_buf_deinit(&w->text);
    return 0;
}

int dirty_lua_json_encoder(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    int max_depth = (int)luaL_checkinteger(L, 2);
    writer *w = lua_newuserdata(L, sizeof *w);
    *w = (writer){.max_depth = max_depth};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_writer);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_getfield(L, 1, "empty_array");
    w->empty_array = lua_touserdata(L, -1);
    lua_pop(L, 1);
    lua_getfield(L, 1, "array_mt");
    lua_getfield(L, 1, "empty_array_mt");
    lua_pushcclosure(L, encode, UP_COUNT);
    return 1;
}
