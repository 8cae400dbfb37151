#include "worker/lua_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/bytes.h"
#include "base/number.h"
#include "wire/json.h"

#define ANSWER_HEAD_LEN (DIRTY_FRAME_HEADER_LEN + 2) /* with the count of values */
#define SCALAR_MAX (DIRTY_VALUE_HEAD_LEN + DIRTY_NUMBER_TEXT_MAX)

/* -- Wire to Lua ------------------------------------------------------------------ */

/* Push a scalar that needs no parser. False: it is not one. */
static bool push_scalar(lua_State *L, dirty_slice text) {
    if (dirty_slice_equals(text, "null", 4)) {
        lua_pushnil(L);
    } else if (dirty_slice_equals(text, "true", 4)) {
        lua_pushboolean(L, 1);
    } else if (dirty_slice_equals(text, "false", 5)) {
        lua_pushboolean(L, 0);
    } else {
        double number;
        if (!dirty_number_parse_int(text, &number))
            return false;
        lua_pushnumber(L, number);
    }
    return true;
}

static void raise_flaw(lua_State *L, dirty_slice text, const dirty_json_look *look) {
    char why[160];
    luaL_error(L, "%s", dirty_json_explain(text, look, why, sizeof why));
}

/* Push the text with lone surrogates replaced. [-0, +1, e] */
static void push_mended(lua_State *L, dirty_slice text) {
    char *room = lua_newuserdata(L, text.len);
    dirty_json_mend(text, room);
    lua_pushlstring(L, room, text.len);
    lua_remove(L, -2);
}

/* Decode the text and push the value. True: a number in it may differ from the text.
 * [-0, +1, e] */
static bool push_decoded(lua_State *L, const dirty_lua_codec *codec, dirty_slice text) {
    dirty_json_look look = {0};
    if (dirty_json_is_doubtful(text) &&
        !dirty_json_is_valid(text, codec->max_depth, &look))
        raise_flaw(L, text, &look); /* lua-cjson might accept it */
    lua_rawgeti(L, LUA_REGISTRYINDEX, codec->decode);
    if (look.halves)
        push_mended(L, text); /* lua-cjson refuses lone surrogates */
    else
        lua_pushlstring(L, text.base, text.len);
    errno = 0;
    lua_call(L, 1, 1);
    /* lua-cjson reads numbers with strtod, which sets ERANGE for one that is too large */
    return errno == ERANGE || dirty_number_may_be_long(text);
}

/* Check the numbers of the value on top. False: one does not fit Lua, and a message
 * replaces the value. */
static bool check_fit(lua_State *L, const dirty_lua_codec *codec, dirty_slice text) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, codec->misfit);
    lua_pushlstring(L, text.base, text.len);
    lua_pushvalue(L, -3);
    lua_call(L, 2, 1);
    bool fits = lua_isnil(L, -1);
    if (fits)
        lua_pop(L, 1);
    else
        lua_replace(L, -2);
    return fits;
}

bool dirty_lua_push_value(lua_State *L, const dirty_lua_codec *codec,
                          const dirty_value *v) {
    if (v->tag == DIRTY_TAG_BYTES) {
        lua_pushlstring(L, v->bytes.base, v->bytes.len);
        return true;
    }
    if (push_scalar(L, v->bytes))
        return true;
    if (push_decoded(L, codec, v->bytes) && !check_fit(L, codec, v->bytes))
        return false;
    if (lua_islightuserdata(L, -1)) { /* null with spaces around it */
        lua_pop(L, 1);
        lua_pushnil(L);
    }
    return true;
}

/* -- Lua to wire ------------------------------------------------------------------ */

void dirty_answer_deinit(dirty_answer *a) {
    free(a->iov);
    free(a->room);
    memset(a, 0, sizeof *a);
}

/* Reserve room for `count` values, each a head with a scalar, or a head and a string
 * piece. */
static bool reserve(dirty_answer *a, uint32_t count) {
    size_t room = ANSWER_HEAD_LEN + (size_t)count * SCALAR_MAX;
    uint32_t pieces = 2 * count + 1;
    if (a->room_cap < room) {
        uint8_t *grown = realloc(a->room, room);
        if (grown == NULL)
            return false;
        a->room = grown;
        a->room_cap = room;
    }
    if (a->iov_cap < pieces) {
        struct iovec *grown = realloc(a->iov, pieces * sizeof *grown);
        if (grown == NULL)
            return false;
        a->iov = grown;
        a->iov_cap = pieces;
    }
    return true;
}

/* The end of the used part of `room`, and the start of the part in no piece yet. */
typedef struct cursor {
    size_t at, open;
} cursor;

static void add_piece(dirty_answer *a, const void *base, size_t len) {
    if (len == 0)
        return;
    a->iov[a->iov_count++] = (struct iovec){(void *)(uintptr_t)base, len};
}

static void close_room_piece(dirty_answer *a, cursor *c) {
    add_piece(a, a->room + c->open, c->at - c->open);
    c->open = c->at;
}

static void put_scalar(dirty_answer *a, cursor *c, const char *text, size_t len) {
    dirty_value_encode_head(a->room + c->at, DIRTY_TAG_JSON, (uint32_t)len);
    memcpy(a->room + c->at + DIRTY_VALUE_HEAD_LEN, text, len);
    c->at += DIRTY_VALUE_HEAD_LEN + len;
    a->payload_len += DIRTY_VALUE_HEAD_LEN + len;
}

static void put_string(lua_State *L, dirty_answer *a, cursor *c, dirty_value_tag tag,
                       int index) {
    size_t len;
    const char *text = lua_tolstring(L, index, &len);
    a->payload_len += DIRTY_VALUE_HEAD_LEN + len;
    dirty_value_encode_head(a->room + c->at, tag, (uint32_t)len);
    c->at += DIRTY_VALUE_HEAD_LEN;
    close_room_piece(a, c);
    add_piece(a, text, len);
}

/* Push a text that says why the value at `index` can't be sent. On top is the reason, or
 * nil. */
static bool explain(lua_State *L, const dirty_lua_codec *codec, int index, int first) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, codec->explain);
    lua_pushvalue(L, index);
    lua_pushfstring(L, "result %d", index - first + 1);
    lua_pushvalue(L, -4);
    lua_call(L, 3, 1);
    return false;
}

/* Replace the table at `index` by its JSON text. False: it can't be sent, and the
 * explanation is on top. */
static bool encode_table(lua_State *L, const dirty_lua_codec *codec, int index,
                         int first) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, codec->encode);
    lua_pushvalue(L, index);
    if (lua_pcall(L, 1, 1, 0) != 0)
        return explain(L, codec, index, first);
    lua_replace(L, index);
    return true;
}

static bool put_number(lua_State *L, dirty_answer *a, cursor *c, int index) {
    char text[DIRTY_NUMBER_TEXT_MAX];
    size_t len = dirty_number_format(text, lua_tonumber(L, index));
    if (len == 0)
        return false;
    put_scalar(a, c, text, len);
    return true;
}

/* Write the value. False: it can't be sent, and the explanation is on top. */
static bool put_value(lua_State *L, dirty_answer *a, cursor *c,
                      const dirty_lua_codec *codec, int index, int first) {
    switch (lua_type(L, index)) {
    case LUA_TSTRING: put_string(L, a, c, DIRTY_TAG_BYTES, index); return true;
    case LUA_TNIL: put_scalar(a, c, "null", 4); return true;
    case LUA_TBOOLEAN:
        if (lua_toboolean(L, index))
            put_scalar(a, c, "true", 4);
        else
            put_scalar(a, c, "false", 5);
        return true;
    case LUA_TNUMBER:
        if (put_number(L, a, c, index))
            return true;
        break;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, index) != NULL)
            break;
        put_scalar(a, c, "null", 4);
        return true;
    case LUA_TTABLE:
        if (!encode_table(L, codec, index, first))
            return false;
        put_string(L, a, c, DIRTY_TAG_JSON, index);
        return true;
    default: break;
    }
    lua_pushnil(L);
    return explain(L, codec, index, first);
}

static bool too_many(lua_State *L, int count, uint32_t max_args) {
    lua_pushfstring(L, "%d results are more than max_args (%d) allows", count,
                    (int)max_args);
    return false;
}

bool dirty_answer_encode(lua_State *L, dirty_answer *a, const dirty_lua_codec *codec,
                         const dirty_answer_limits *limits, int first) {
    int last = lua_gettop(L), count = last - first + 1;
    uint32_t max_args = limits->max_args < UINT16_MAX ? limits->max_args : UINT16_MAX;
    if (count > 0 && (uint32_t)count > max_args)
        return too_many(L, count, max_args);
    if (!reserve(a, (uint32_t)count))
        return luaL_error(L, "not enough memory for the answer"), false;
    cursor c = {ANSWER_HEAD_LEN, 0};
    a->iov_count = 0;
    a->payload_len = 2;
    for (int i = first; i <= last; i++)
        if (!put_value(L, a, &c, codec, i, first))
            return false;
    if (a->payload_len > limits->max_message) {
        lua_pushfstring(L, "a result of %f bytes is more than max_message (%f) allows",
                        (lua_Number)a->payload_len, (lua_Number)limits->max_message);
        return false;
    }
    close_room_piece(a, &c);
    dirty_put16(a->room + DIRTY_FRAME_HEADER_LEN, (uint16_t)count);
    return true;
}

void dirty_answer_finish(dirty_answer *a, dirty_frame_type type, uint64_t id) {
    dirty_frame_encode(a->room, type, (uint32_t)a->payload_len, id);
}
