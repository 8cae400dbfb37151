/* lua_api: what an app's Lua can ask of its lane: the table package.loaded["dirty.host"],
 * on which the module `dirty` is built. Nothing in it blocks. */
#ifndef DIRTY_LUA_API_H
#define DIRTY_LUA_API_H

#include "base/baton.h"
#include "base/ratelimit.h"
#include "base/worker_start.h"
#include "worker/call.h"

struct lua_State;

/* What the functions look at; owned by the host, which changes it between calls. It must
 * outlive the Lua state. */
typedef struct dirty_lua_scope {
    const dirty_worker_start *start;
    const dirty_call *call;  /* NULL: no request runs (boot, close) */
    const char *app;         /* name of the app that runs or boots, NULL: none */
    int metadata;            /* registry reference of the request's metadata */
    dirty_lane_page *page;   /* that tells what boots, NULL: none */
    uint32_t booting;        /* index of the app that boots */
    dirty_bucket log_bucket; /* lines that its apps may log now */
} dirty_lua_scope;

/* Make the table and register it. [-0, +0, e] */
void dirty_lua_api_open(struct lua_State *L, dirty_lua_scope *scope);

#endif
