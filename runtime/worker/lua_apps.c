#include <errno.h>
#include <string.h>

#include "base/guest.h"
#include "worker/lua_state.h"

/* Limit of one text of a boot failure, in bytes of JSON. Two texts fit into a message. */
#define BOOT_TEXT_MAX 7000

static void set_text(lua_State *L, const char *name, const char *text) {
    if (text == NULL)
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void push_spec(lua_State *L, const dirty_app_spec *spec) {
    lua_newtable(L);
    set_text(L, "name", spec->name);
    set_text(L, "module", spec->module);
    set_text(L, "object", spec->object);
    set_text(L, "options", spec->options);
}

static void add_text(lua_State *L, dirty_buf *out, const char *name, int index) {
    size_t len;
    lua_getfield(L, index, name);
    const char *text = lua_tolstring(L, -1, &len);
    size_t start = out->len;
    while (text != NULL) {
        dirty_buf_printf(out, ",\"%s\":", name);
        dirty_buf_json_string(out, text, len);
        if (out->len - start <= BOOT_TEXT_MAX)
            break;
        out->len = start;
        len /= 2;
    }
    lua_pop(L, 1);
}

/* Append phase, message and traceback of the failure table at `index` as JSON members. */
static void add_failure(lua_State *L, dirty_buf *out, int index) {
    add_text(L, out, "phase", index);
    add_text(L, out, "message", index);
    add_text(L, out, "traceback", index);
}

typedef struct app_work {
    dirty_host *host;
    uint32_t app;
    const char *step; /* of try; see dirty.lane.loader */
    bool ok;
    dirty_buf *out;
} app_work;

/* Load the app and make its object. [-1, +0, e] */
static int open_app(lua_State *L) {
    app_work *work = lua_touserdata(L, 1);
    dirty_host *h = work->host;
    dirty__push_lane(h, "open");
    push_spec(L, h->start->apps[work->app]);
    lua_call(L, 1, 3); /* object, its own call or false, failure */
    if (lua_isnil(L, 2)) {
        add_failure(L, work->out, 4);
        return 0;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->apps);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, dirty__object_at(work->app));
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, dirty__object_at(work->app) + 1);
    work->ok = true;
    return 0;
}

/* Run one step of a try. [-1, +0, e] */
static int try_app(lua_State *L) {
    app_work *work = lua_touserdata(L, 1);
    dirty__push_lane(work->host, "try");
    push_spec(L, work->host->start->apps[work->app]);
    lua_pushstring(L, work->step);
    lua_call(L, 2, 2); /* members of the report, failure */
    if (lua_isnil(L, 2)) {
        add_failure(L, work->out, 3);
        return 0;
    }
    dirty_buf_printf(work->out, ",%s", lua_tostring(L, 2));
    work->ok = true;
    return 0;
}

/* Run one of these functions. Reports an error that it raises as the runtime's own. */
static void run_app_work(app_work *work, lua_CFunction function) {
    dirty_host *h = work->host;
    h->scope.app = h->start->apps[work->app]->name;
    h->scope.booting = work->app;
    dirty__drop_hook(h->L);
    h->interrupt.booting = true;
    int status = lua_cpcall(h->L, function, work);
    h->interrupt.booting = false;
    dirty_guest_end(h->scope.app);
    dirty_interrupt_leave(&h->interrupt);
    dirty__drop_hook(h->L);
    dirty_pin_thread();
    dirty_pin_signals(h->scope.app);
    if (status != 0) {
        const char *text = lua_tostring(h->L, -1);
        dirty_buf_append_cstr(work->out, ",\"phase\":\"load\",\"message\":");
        dirty_buf_json_string(work->out, text ? text : "", text ? strlen(text) : 0);
    }
    lua_settop(h->L, SLOT_BASE);
    h->scope.app = NULL;
    if (dirty_lua_collector_is_due(&h->collector))
        dirty__collect(h, h->L, false);
}

/* Call dirty.lane's booted(), once all apps are made. */
static int end_boot(lua_State *L) {
    dirty_host *h = lua_touserdata(L, 1);
    dirty__push_lane(h, "booted");
    lua_call(L, 0, 0);
    return 0;
}

/* Check that calls have room. A lane whose apps use up max_memory could only answer
 * MEMORY. */
static bool leaves_room(dirty_host *h, dirty_buf *why) {
    const dirty_lua_limit *heap = &h->interrupt.heap;
    if (dirty_interrupt_has_room(&h->interrupt))
        return true;
    dirty_buf_printf(
        why,
        ",\"phase\":\"init\",\"message\":\"the Lua heap of the lane holds %zu "
        "bytes after the app was created: an eighth of max_memory (%zu bytes) must be "
        "left for calls\"",
        heap->used, heap->limit);
    return false;
}

int dirty_host_boot(dirty_host *h, dirty_buf *why) {
    for (uint32_t i = 0; i < h->start->app_count; i++) {
        const char *name = h->start->apps[i]->name;
        dirty_buf_append_cstr(why, "{\"app\":");
        dirty_buf_json_string(why, name, strlen(name));
        app_work work = {.host = h, .app = i, .out = why};
        run_app_work(&work, open_app);
        if (work.ok)
            h->opened = i + 1;
        bool good = work.ok && leaves_room(h, why);
        dirty_buf_append_cstr(why, "}");
        if (!good)
            return -EINVAL;
        why->len = 0;
    }
    lua_cpcall(h->L, end_boot, h);
    lua_settop(h->L, SLOT_BASE);
    return 0;
}

int dirty_host_try(dirty_host *h, uint32_t app, const char *step, dirty_buf *report) {
    dirty_buf rest = {0};
    app_work work = {.host = h, .app = app, .step = step, .out = &rest};
    run_app_work(&work, try_app);
    dirty_buf_printf(report, "\"ok\":%s", work.ok ? "true" : "false");
    dirty_buf_append(report, rest.base, rest.len);
    dirty_buf_deinit(&rest);
    return work.ok ? 0 : -EINVAL;
}

/* Call close() of the app whose work is the argument. */
static int close_app(lua_State *L) {
    app_work *work = lua_touserdata(L, 1);
    dirty__push_lane(work->host, "close");
    lua_rawgeti(L, LUA_REGISTRYINDEX, work->host->apps);
    lua_rawgeti(L, -1, dirty__object_at(work->app));
    lua_remove(L, -2);
    lua_call(L, 1, 0);
    return 0;
}

void dirty_host_close_apps(dirty_host *h) {
    dirty_buf out = {0};
    while (h->opened > 0) {
        app_work work = {.host = h, .app = --h->opened, .out = &out};
        run_app_work(&work, close_app);
    }
    dirty_buf_deinit(&out);
}
