#include "worker/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <luajit.h>

#include "base/clock.h"
#include "worker/lua_trace.h"

/* The alarm repeats its signal, as the arbiter does. */
#define ALARM_NS (10 * DIRTY_NS_PER_MS)

/* LuaJIT's profiler with a check in every line of compiled code. The mode needs a timer
 * interval; we stop that timer at once, so that only we send SIGPROF. */
#define PROFILE_MODE "li1000000000"

static const dirty_code reasons[] = {DIRTY_CODE_TIMEOUT, DIRTY_CODE_CANCELLED,
                                     DIRTY_CODE_MEMORY};

/* The interrupt of this thread. initial-exec: a signal handler may not call the dynamic
 * linker. */
static _Thread_local dirty_interrupt *current __attribute__((tls_model("initial-exec")));

/* -- Arming: in the signal handler or the allocator ------------------------------- */

static void on_hook(lua_State *L, lua_Debug *ar);

/* Set the hook for the next instruction. The signal may have come while LuaJIT was
 * changing its dispatch table, which undoes half of a change that we make here. Clearing
 * the hook first makes LuaJIT rebuild the whole table. If that fails too, the arbiter's
 * next signal repeats it. */
static void arm(dirty_interrupt *in) {
    lua_Hook hook = lua_gethook(in->L);
    if (hook != on_hook) {
        in->app_hook = hook;
        in->app_mask = lua_gethookmask(in->L);
        in->app_count = lua_gethookcount(in->L);
    }
    atomic_store(&in->armed, true);
    lua_sethook(in->L, NULL, 0, 0);
    lua_sethook(in->L, on_hook, LUA_MASKCOUNT, 1);
    if (in->compiled)
        raise(SIGPROF);
}

static void interrupt(dirty_interrupt *in, unsigned reason) {
    unsigned none = 0;
    atomic_compare_exchange_strong(&in->reason, &none, reason); /* the first stays */
    arm(in);
}

/* Do what the page asks, if it asks it of the call that runs here. */
static void look(dirty_interrupt *in) {
    uint64_t seq = atomic_load_explicit(&in->running, memory_order_relaxed);
    uint64_t word = atomic_load(&in->page->interrupt);
    uint64_t own_deadline_ns = atomic_load(&in->own_deadline_ns);
    if (seq == 0 || dirty_baton_read(in->page, seq) != DIRTY_BATON_RUNNING)
        return;
    if (own_deadline_ns != 0 && dirty_now_ns() >= own_deadline_ns)
        interrupt(in, DIRTY_CODE_TIMEOUT);
    if (word >> 8 != seq)
        return;
    switch (word & 0xff) {
    case DIRTY_CODE_TIMEOUT:
    case DIRTY_CODE_CANCELLED: interrupt(in, (unsigned)word & 0xff); break;
    case DIRTY_INTERRUPT_STACK:
        atomic_store(&in->asked, true);
        arm(in);
        break;
    default: break;
    }
}

static void on_signal(int number) {
    (void)number;
    int saved = errno;
    if (current != NULL)
        look(current);
    errno = saved;
}

/* The heap went over its limit. Called by the allocator. */
static void on_over(void *ctx) {
    dirty_interrupt *in = ctx;
    if (atomic_load_explicit(&in->running, memory_order_relaxed) != 0)
        interrupt(in, DIRTY_CODE_MEMORY);
}

void dirty_interrupt_collect(dirty_interrupt *in) {
    if (in->L == NULL ||
        (!in->booting && atomic_load_explicit(&in->running, memory_order_relaxed) == 0))
        return;
    atomic_store(&in->due, true);
    arm(in);
}

/* Collect all garbage; the callback of worker/lua_limit.h. */
static void collect_all(void *ctx, lua_State *L) {
    dirty_interrupt *in = ctx;
    in->collect(in->collect_ctx, L, true);
}

/* -- The hook: runs between two instructions -------------------------------------- */

/* Remove our hook and restore the app's own, if it has one. */
static void disarm(dirty_interrupt *in) {
    if (lua_gethook(in->L) == on_hook)
        lua_sethook(in->L, in->app_hook, in->app_mask, in->app_count);
    atomic_store(&in->armed, false);
}

static void tell_stack(dirty_interrupt *in, lua_State *L) {
    dirty_lane_page *page = in->page;
    atomic_store(&in->asked, false);
    atomic_store(&page->stack_seq, 0);
    page->stack_len =
        (uint32_t)dirty_lua_trace(L, in->L, page->stack_text, sizeof page->stack_text);
    atomic_store(&page->stack_seq, atomic_load(&in->running));
}

/* Collect garbage after the heap went over its limit. True: there is room again, and the
 * call goes on. */
static bool is_relieved(dirty_interrupt *in, lua_State *L) {
    if (in->raised > 0 || !dirty_lua_limit_relieve(&in->heap, L))
        return false;
    unsigned memory = DIRTY_CODE_MEMORY;
    atomic_compare_exchange_strong(&in->reason, &memory, 0);
    return true;
}

static int fault_of(const dirty_interrupt *in, unsigned reason) {
    size_t i = 0;
    while (i + 1 < sizeof reasons / sizeof *reasons && reasons[i] != (dirty_code)reason)
        i++;
    return in->faults[i];
}

static void on_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    dirty_interrupt *in = current;
    if (in == NULL)
        return;
    if (atomic_load(&in->asked))
        tell_stack(in, L);
    if (atomic_exchange(&in->due, false))
        in->collect(in->collect_ctx, L, false);
    unsigned reason = atomic_load(&in->reason);
    if (atomic_load(&in->running) == 0 || reason == 0 ||
        (reason == DIRTY_CODE_MEMORY && is_relieved(in, L))) {
        disarm(in);
        return;
    }
    if (in->trace_len == 0)
        in->trace_len = dirty_lua_trace(L, in->L, in->trace, sizeof in->trace);
    if (in->raised++ == 0)
        disarm(in); /* the app may clean up until the next signal */
    lua_rawgeti(L, LUA_REGISTRYINDEX, fault_of(in, reason));
    lua_error(L);
}

dirty_code dirty__interrupt_settle(dirty_interrupt *in) {
    if (atomic_load(&in->armed))
        disarm(in);
    atomic_store(&in->asked, false);
    atomic_store(&in->due, false);
    return (dirty_code)atomic_load(&in->reason);
}

void dirty_interrupt_tell(dirty_interrupt *in, const char *app, dirty_slice action,
                          uint64_t arrived_ns, dirty_lane_error *error) {
    dirty_code reason = (dirty_code)atomic_load(&in->reason);
    unsigned long long ms = (dirty_now_ns() - arrived_ns) / DIRTY_NS_PER_MS;
    dirty_lane_error_set(error, reason, "yes");
    error->phase = "run";
    dirty_lane_error_trace(error, in->trace, in->trace_len);
    dirty_lane_error_sayf(error, "%s.%.*s ", app, (int)action.len, action.base);
    if (reason == DIRTY_CODE_MEMORY)
        dirty_lane_error_sayf(
            error,
            "was stopped: the Lua heap of its lane went over max_memory "
            "(%zu bytes)",
            in->heap.limit);
    else if (reason == DIRTY_CODE_TIMEOUT)
        dirty_lane_error_sayf(error, "ran %llu ms", ms);
    else
        dirty_lane_error_sayf(error, "was cancelled after %llu ms", ms);
    atomic_store(&in->reason, 0);
    in->raised = 0;
    in->trace_len = 0;
}

/* -- The alarm -------------------------------------------------------------------- */

/* Make a timer that signals this thread. A process may have none left: then the lane
 * serves no calls that would need it. */
static void make_alarm(dirty_interrupt *in) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = DIRTY_INTERRUPT_SIGNAL};
    event._sigev_un._tid = gettid();
    in->has_alarm = timer_create(CLOCK_MONOTONIC, &event, &in->alarm) == 0;
}

void dirty_interrupt_bound(dirty_interrupt *in, uint64_t deadline_ns) {
    struct itimerspec when = {
        .it_interval.tv_nsec = ALARM_NS,
        .it_value.tv_sec = (time_t)(deadline_ns / (1000 * DIRTY_NS_PER_MS)),
        .it_value.tv_nsec = (long)(deadline_ns % (1000 * DIRTY_NS_PER_MS))};
    atomic_store(&in->own_deadline_ns, deadline_ns);
    timer_settime(in->alarm, TIMER_ABSTIME, &when, NULL);
}

/* -- Opening and closing ---------------------------------------------------------- */

void dirty_interrupt_handle_signals(void) {
    /* no SA_RESTART: the signal must end a system call in which an app waits */
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(DIRTY_INTERRUPT_SIGNAL, &action, NULL);
}

static void on_profile(void *data, lua_State *L, int samples, int vmstate) {
    (void)data, (void)L, (void)samples, (void)vmstate;
}

static void start_profiler(lua_State *L) {
    /* LuaJIT restores this disposition when an app stops the profiler */
    signal(SIGPROF, SIG_IGN);
    luaJIT_profile_start(L, PROFILE_MODE, on_profile, NULL);
    setitimer(ITIMER_PROF, &(struct itimerval){0}, NULL);
}

/* Make the error objects once: dirty.fault.new(code, message) for each reason. */
static void make_faults(dirty_interrupt *in, lua_State *L) {
    static const char *const texts[] = {
        "the deadline passed while the request ran",
        "the request was cancelled while it ran",
        "the Lua heap of the lane went over max_memory",
    };
    lua_getglobal(L, "require");
    lua_pushliteral(L, "dirty.fault");
    lua_call(L, 1, 1);
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        lua_getfield(L, -1, "new");
        lua_pushstring(L, dirty_code_name(reasons[i]));
        lua_pushstring(L, texts[i]);
        lua_call(L, 2, 1);
        in->faults[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_pop(L, 1);
}

/* The part of opening that can raise. */
static int open_state(lua_State *L) {
    dirty_interrupt *in = lua_touserdata(L, 1);
    make_faults(in, L);
    if (in->compiled)
        start_profiler(L);
    return 0;
}

int dirty_interrupt_open(dirty_interrupt *in, lua_State *L,
                         const dirty_interrupt_options *options) {
    in->L = L;
    in->page = options->page;
    in->compiled = options->compiled;
    in->collect = options->collect;
    in->collect_ctx = options->collect_ctx;
    int top = lua_gettop(L);
    if (lua_cpcall(L, open_state, in) != 0) {
        lua_settop(L, top);
        return -ENOMEM;
    }
    if (options->max_memory > 0) {
        in->heap.over = on_over;
        in->heap.collect = collect_all;
        in->heap.ctx = in;
        dirty_lua_limit_install(&in->heap, L, options->max_memory);
    }
    make_alarm(in);
    current = in;
    return 0;
}

void dirty_interrupt_close(dirty_interrupt *in) {
    if (in->L == NULL)
        return;
    if (current == in)
        current = NULL;
    if (in->has_alarm)
        timer_delete(in->alarm);
    if (in->compiled)
        luaJIT_profile_stop(in->L);
    dirty_lua_limit_remove(&in->heap, in->L);
}
