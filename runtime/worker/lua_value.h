/* lua_value: values of the wire to and from a Lua stack. Only the Lua host uses it.
 *
 * Strings are raw bytes both ways. Scalars are written and mostly read here. Tables go
 * through the lane's JSON functions. */
#ifndef DIRTY_LUA_VALUE_H
#define DIRTY_LUA_VALUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "wire/frame.h"
#include "wire/value.h"

struct lua_State;

/* Registry references of the Lua functions that values need. */
typedef struct dirty_lua_codec {
    int encode;  /* of worker/lua_json.h; may raise */
    int decode;  /* of lua-cjson; may raise */
    int explain; /* (value, name, reason) → text that says why it can't be encoded */
    int misfit; /* (JSON text, value) → text that names a number that does not fit; or nil
                 */
    uint32_t max_depth;
} dirty_lua_codec;

/* A RESPONSE or CHUNK frame in pieces. Heads and scalars are in `room`. Strings are where
 * Lua keeps them, so the Lua stack must not change until the frame is written. The host
 * owns it, zeroes it first and frees it with dirty_answer_deinit. */
typedef struct dirty_answer {
    struct iovec *iov; /* owned */
    uint32_t iov_count, iov_cap;
    uint8_t *room; /* owned */
    size_t room_cap;
    size_t payload_len;
} dirty_answer;

void dirty_answer_deinit(dirty_answer *a);

/* Push one value of the wire. Raises for text that is not JSON, with a message that names
 * the place. False: it has a number that Lua can't hold, and a text that names the number
 * is pushed instead. [-0, +1, e] */
bool dirty_lua_push_value(struct lua_State *L, const dirty_lua_codec *codec,
                          const dirty_value *v);

/* Limits of an answer: bytes of its payload, number of values. */
typedef struct dirty_answer_limits {
    uint32_t max_message, max_args;
} dirty_answer_limits;

/* Make the answer of the values from `first` to the top. Replaces tables by their JSON
 * text. True: the stack is as high as before. False: a text on top says which value can't
 * be sent, and why. [-0, +0|1, e] */
bool dirty_answer_encode(struct lua_State *L, dirty_answer *a,
                         const dirty_lua_codec *codec, const dirty_answer_limits *limits,
                         int first);

/* Put the frame's header in place. The pieces can then be written, once. */
void dirty_answer_finish(dirty_answer *a, dirty_frame_type type, uint64_t id);

#endif
