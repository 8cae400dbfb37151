#include "worker/lua_state.h"

/* Hide the call and the app while finalizers run. Returns the scope to restore. */
static dirty_lua_scope hide_scope(dirty_host *h) {
    dirty_lua_scope scope = h->scope;
    h->scope.call = NULL;
    h->scope.app = NULL;
    return scope;
}

void dirty__collect(dirty_host *h, lua_State *L, bool all) {
    dirty_lua_scope scope = hide_scope(h);
    if (all)
        dirty_lua_collector_full(&h->collector, L);
    else
        dirty_lua_collector_step(&h->collector, L);
    h->scope = scope;
}

bool dirty__collect_turn(dirty_host *h, lua_State *L, int kib) {
    dirty_lua_scope scope = hide_scope(h);
    bool finished = dirty_lua_collector_turn(&h->collector, L, kib);
    h->scope = scope;
    return finished;
}

void dirty__push_lane(dirty_host *h, const char *name) {
    lua_rawgeti(h->L, LUA_REGISTRYINDEX, h->lane);
    lua_getfield(h->L, -1, name);
    lua_remove(h->L, -2);
}
