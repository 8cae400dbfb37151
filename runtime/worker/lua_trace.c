#include "worker/lua_trace.h"

#include <stdarg.h>
#include <stdio.h>

#include <lua.h>

/* Frames shown of a deep stack, from its top and from its bottom. */
#define TOP_FRAMES 12
#define BOTTOM_FRAMES 10

typedef struct text {
    char *out;
    size_t len, size;
} text;

__attribute__((format(printf, 2, 3))) static void say(text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->out + t->len, t->size - t->len, format, args);
    va_end(args);
    if (n > 0)
        t->len += (size_t)n < t->size - t->len ? (size_t)n : t->size - t->len - 1;
}

static void say_frame(text *t, lua_State *L, lua_Debug *ar) {
    lua_getinfo(L, "Snl", ar);
    say(t, "\n\t%s:", ar->short_src);
    if (ar->currentline > 0)
        say(t, "%d:", ar->currentline);
    if (*ar->namewhat != '\0')
        say(t, " in function '%s'", ar->name);
    else if (*ar->what == 'm')
        say(t, " in main chunk");
    else if (*ar->what == 'C')
        say(t, " ?");
    else
        say(t, " in function <%s:%d>", ar->short_src, ar->linedefined);
}

static int count_frames(lua_State *L) {
    lua_Debug ar;
    int low = 0, high = 1;
    while (lua_getstack(L, high, &ar)) {
        low = high;
        high *= 2;
    }
    while (low + 1 < high) {
        int middle = low + (high - low) / 2;
        if (lua_getstack(L, middle, &ar))
            low = middle;
        else
            high = middle;
    }
    return high;
}

static void say_stack(text *t, lua_State *L) {
    lua_Debug ar;
    int count = count_frames(L);
    for (int level = 0; level < count && lua_getstack(L, level, &ar); level++) {
        if (level == TOP_FRAMES && count > TOP_FRAMES + BOTTOM_FRAMES) {
            say(t, "\n\t...\t(%d frames)", count - TOP_FRAMES - BOTTOM_FRAMES);
            level = count - BOTTOM_FRAMES;
            lua_getstack(L, level, &ar);
        }
        say_frame(t, L, &ar);
    }
}

size_t dirty_lua_trace(lua_State *L, lua_State *main, char *out, size_t size) {
    text t = {.out = out, .size = size};
    say(&t, "stack traceback:");
    say_stack(&t, L);
    if (L != main) {
        say(&t, "\nmain coroutine:");
        say_stack(&t, main);
    }
    return t.len;
}
