#include "arbiter/recent.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#include "arbiter/lane.h"
#include "arbiter/request.h"
#include "arbiter/worker.h"
#include "base/clock.h"
#include "base/recent_calls.h"

/* -- Noting ------------------------------------------------------------------------ */

/* The arbiter's own ring. NULL: no memory, and nothing is noted. */
static dirty_recent_calls *own_ring(arbiter *a) {
    if (a->recent == NULL)
        a->recent = calloc(1, sizeof *a->recent);
    return a->recent;
}

void recent_note(arbiter *a, const request *r, dirty_code code, bool started,
                 const char *message) {
    dirty_recent_calls *ring = own_ring(a);
    uint64_t now_ns = dirty_now_ns();
    uint64_t took_ns = r->arrived_ns != 0 ? now_ns - r->arrived_ns : 0;
    dirty_recent_facts facts = {.ended_ns = now_ns,
                                .queue_ns = started ? 0 : took_ns,
                                .run_ns = started ? took_ns : 0,
                                .code = (uint32_t)code,
                                .caller_pid = r->peer_pid,
                                .caller_uid = r->peer_uid,
                                .app =
                                    dirty_slice_cstr(r->app != NULL ? r->app->name : ""),
                                .action = dirty_slice_cstr(r->action),
                                .message = dirty_slice_cstr(message)};
    if (ring != NULL)
        dirty_recent_add(ring, &facts);
    dirty_call_words words = {.code = dirty_code_name(code),
                              .level = dirty_code_level(code)};
    dirty_call_log_failed(&a->call_log, &facts, &words);
    if (a->o->access_log)
        dirty_call_log_access(&facts, words.code);
}

void recent_keep(const lane *l) {
    dirty_recent_calls *ring = own_ring(l->a);
    dirty_recent_call c;
    for (uint32_t i = 0; l->page != NULL && ring != NULL && i < DIRTY_RECENT_CALLS; i++)
        if (dirty_recent_copy(&l->page->recent, i, &c))
            dirty_recent_add(
                ring, &(dirty_recent_facts){.ended_ns = c.ended_ns,
                                            .queue_ns = c.queue_ns,
                                            .run_ns = c.run_ns,
                                            .code = c.code,
                                            .worker = c.worker,
                                            .worker_pid = c.worker_pid,
                                            .caller_pid = c.caller_pid,
                                            .caller_uid = c.caller_uid,
                                            .app = dirty_slice_cstr(c.app),
                                            .action = dirty_slice_cstr(c.action),
                                            .message = dirty_slice_cstr(c.message),
                                            .traceback = dirty_slice_cstr(c.traceback)});
}

/* -- Telling ----------------------------------------------------------------------- */

/* The newest entries of all rings, the newest first. */
typedef struct newest {
    struct {
        const dirty_recent_calls *ring;
        uint32_t at;
        uint64_t ended_ns;
    } entries[RECENT_MOST];
    uint32_t count, most;
} newest;

static void consider(newest *n, const dirty_recent_calls *ring, uint64_t after_ns) {
    for (uint32_t i = 0; i < DIRTY_RECENT_CALLS; i++) {
        uint64_t ended_ns = dirty_recent_ended_ns(ring, i);
        if (ended_ns == 0 || ended_ns <= after_ns ||
            (n->count == n->most && ended_ns <= n->entries[n->count - 1].ended_ns))
            continue;
        uint32_t at = n->count < n->most ? n->count++ : n->count - 1;
        for (; at > 0 && n->entries[at - 1].ended_ns < ended_ns; at--)
            n->entries[at] = n->entries[at - 1];
        n->entries[at].ring = ring;
        n->entries[at].at = i;
        n->entries[at].ended_ns = ended_ns;
    }
}

static void append_text(dirty_buf *out, const char *key, const char *text) {
    dirty_buf_printf(out, ",\"%s\":", key);
    if (*text != '\0')
        dirty_buf_json_string(out, text, strlen(text));
    else
        dirty_buf_append_cstr(out, "null");
}

static void append_call(const dirty_recent_call *c, double epoch_s, dirty_buf *out) {
    const char *code = c->code == 0                 ? "OK"
                       : c->code <= DIRTY_CODE_LAST ? dirty_code_name(c->code)
                                                    : "UNKNOWN";
    dirty_buf_printf(out,
                     "{\"at\":%.6f,\"code\":\"%s\",\"queue_ms\":%.3f,\"run_ms\":%.3f,"
                     "\"worker\":%u,\"worker_pid\":%d,\"caller_pid\":%d,"
                     "\"caller_uid\":%u",
                     epoch_s + (double)c->ended_ns / 1e9, code,
                     (double)c->queue_ns / DIRTY_NS_PER_MS,
                     (double)c->run_ns / DIRTY_NS_PER_MS, c->worker, (int)c->worker_pid,
                     (int)c->caller_pid, (unsigned)c->caller_uid);
    append_text(out, "app", c->app);
    append_text(out, "action", c->action);
    append_text(out, "message", c->message);
    append_text(out, "traceback", c->traceback);
    dirty_buf_append_cstr(out, "}");
}

/* What to add to a time of base/clock.h to get seconds since 1970. */
static double epoch_now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9 - (double)dirty_now_ns() / 1e9;
}

void recent_append(const arbiter *a, double after_s, uint32_t most, dirty_buf *out) {
    newest n = {.most = most < RECENT_MOST ? most : RECENT_MOST};
    double epoch_s = epoch_now_s();
    double after_ns = (after_s - epoch_s) * 1e9;
    const worker *w;
    if (n.most > 0 && a->recent != NULL)
        consider(&n, a->recent, after_ns > 0 ? (uint64_t)after_ns : 0);
    DL_FOREACH (a->workers, w)
        for (uint32_t i = 0; n.most > 0 && i < w->lane_count; i++)
            if (w->state != WORKER_DEAD && w->lanes[i].page != NULL)
                consider(&n, &w->lanes[i].page->recent,
                         after_ns > 0 ? (uint64_t)after_ns : 0);
    dirty_buf_printf(out, "{\"now\":%.6f,\"calls\":[",
                     epoch_s + (double)dirty_now_ns() / 1e9);
    bool first = true;
    for (uint32_t i = n.count; i-- > 0;) {
        dirty_recent_call c;
        if (!dirty_recent_copy(n.entries[i].ring, n.entries[i].at, &c))
            continue; /* a newer one has its place: it is told the next time */
        dirty_buf_append_cstr(out, first ? "" : ",");
        append_call(&c, epoch_s, out);
        first = false;
    }
    dirty_buf_append_cstr(out, "]}");
}
