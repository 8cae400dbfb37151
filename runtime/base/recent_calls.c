#include "base/recent_calls.h"

#include <string.h>

static void set_text(char *out, size_t size, dirty_slice text) {
    size_t len = text.len < size ? text.len : size - 1;
    if (len > 0)
        memcpy(out, text.base, len);
    out[len] = '\0';
}

void dirty_recent_add(dirty_recent_calls *ring, const dirty_recent_facts *f) {
    uint64_t number = ++ring->last;
    dirty_recent_call *c = &ring->calls[number % DIRTY_RECENT_CALLS];
    /* A reader that sees any of what follows sees the 0 too. */
    atomic_store_explicit(&c->number, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    c->queue_ns = f->queue_ns;
    c->run_ns = f->run_ns;
    c->code = f->code;
    c->worker = f->worker;
    c->worker_pid = f->worker_pid;
    c->caller_pid = f->caller_pid;
    c->caller_uid = f->caller_uid;
    set_text(c->app, sizeof c->app, f->app);
    set_text(c->action, sizeof c->action, f->action);
    set_text(c->message, sizeof c->message, f->message);
    set_text(c->traceback, sizeof c->traceback, f->traceback);
    c->ended_ns = f->ended_ns;
    atomic_store_explicit(&c->number, number, memory_order_release);
}

bool dirty_recent_copy(const dirty_recent_calls *ring, uint32_t i,
                       dirty_recent_call *out) {
    dirty_recent_call *c = (dirty_recent_call *)&ring->calls[i];
    uint64_t number = atomic_load_explicit(&c->number, memory_order_acquire);
    if (number == 0)
        return false;
    memcpy((void *)out, (const void *)c, sizeof *out);
    atomic_thread_fence(memory_order_acquire);
    out->app[sizeof out->app - 1] = '\0';
    out->action[sizeof out->action - 1] = '\0';
    out->message[sizeof out->message - 1] = '\0';
    out->traceback[sizeof out->traceback - 1] = '\0';
    return atomic_load_explicit(&c->number, memory_order_relaxed) == number;
}

uint64_t dirty_recent_ended_ns(const dirty_recent_calls *ring, uint32_t i) {
    dirty_recent_call *c = (dirty_recent_call *)&ring->calls[i];
    bool is_there = atomic_load_explicit(&c->number, memory_order_acquire) != 0;
    return is_there ? c->ended_ns : 0;
}
