/* lua_value: values of the wire to and from a Lua stack. One of the few files that see
 * lua.h; for the host alone.
 *
 * Strings are raw bytes both ways. Scalars are written and mostly read here, tables go
 * through a lua-cjson instance of the lane. */
#ifndef DIRTY_LUA_VALUE_H
#define DIRTY_LUA_VALUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "wire/frame.h"
#include "wire/value.h"

struct lua_State;

/* Where the Lua functions that values need lie in the registry. */
typedef struct dirty_lua_codec {
    int encode;  /* of runtime/worker/lua_json.c: raises */
    int decode;  /* cjson's decode: raises */
    int explain; /* (value, name, reason) → text that says what in it is no JSON */
    int misfit;  /* (JSON text, value) → text: which number does not fit, or nil */
    uint32_t max_depth;
} dirty_lua_codec;

/* A RESPONSE or CHUNK frame in pieces: heads and scalars in `room`, strings where Lua
 * keeps them, so the Lua stack must stay as it is until the frame is written. Owned by
 * the host, which zeroes it first and ends it with dirty_answer_deinit. */
typedef struct dirty_answer {
    struct iovec *iov; /* owned */
    uint32_t iov_count, iov_cap;
    uint8_t *room; /* owned */
    size_t room_cap;
    size_t payload_len;
    size_t json_max; /* the longest JSON text so far */
} dirty_answer;

void dirty_answer_deinit(dirty_answer *a);

/* Push one value of the wire. [-0, +1, e]: JSON that is none raises, in words that tell
 * the place. False: it has a number that Lua can't hold, and a text that says which is
 * pushed. */
bool dirty_lua_push_value(struct lua_State *L, const dirty_lua_codec *codec,
                          const dirty_value *v);

/* What may be encoded. */
typedef struct dirty_answer_limits {
    uint32_t max_message, max_args;
} dirty_answer_limits;

/* Make the answer of the stack's values `first`..top; tables are replaced by their JSON
 * text. True, with the stack as high as before; or false, with a text on top that says
 * which value can't be sent, and why. [-0, +0|1, e] */
bool dirty_answer_encode(struct lua_State *L, dirty_answer *a,
                         const dirty_lua_codec *codec, const dirty_answer_limits *limits,
                         int first);

/* Put the frame's header in place; the pieces are then ready to be written, once. */
void dirty_answer_finish(dirty_answer *a, dirty_frame_type type, uint64_t id);

#endif
