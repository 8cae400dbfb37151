/* lua_api: what the Lua code of an app can ask its lane. It is the table
 * package.loaded["dirty.host"], on which the module `dirty` is built. Nothing in it
 * blocks. */
#ifndef DIRTY_LUA_API_H
#define DIRTY_LUA_API_H

#include "base/baton.h"
#include "base/ratelimit.h"
#include "base/worker_start.h"
#include "worker/call.h"

struct lua_State;

/* What the functions of the table read. The host owns it and changes it between calls. It
 * must outlive the Lua state. */
typedef struct dirty_lua_scope {
    const dirty_worker_start *start;
    const dirty_call *call;  /* NULL: no request runs (boot, close) */
    const char *app;         /* name of the app that runs or boots; NULL: none */
    int metadata;            /* registry reference of the request's metadata */
    dirty_lane_page *page;   /* shows the arbiter which app boots; NULL: none */
    uint32_t booting;        /* index of the app that boots */
    dirty_bucket log_bucket; /* limits the lines that apps log */
} dirty_lua_scope;

/* Make the table and put it into package.loaded. [-0, +0, e] */
void dirty_lua_api_open(struct lua_State *L, dirty_lua_scope *scope);

#endif
