#include "arbiter/dispatch.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "arbiter/availability.h"
#include "arbiter/lane.h"
#include "arbiter/reply.h"
#include "arbiter/worker.h"
#include "base/clock.h"
#include "wire/request.h"

/* Check for a hang-up before a request that waited longer than this is given to a lane.
 * Its caller may have left unnoticed. */
#define UNSEEN_NS (10 * DIRTY_NS_PER_MS)

/* -- Lanes and requests ---------------------------------------------------------- */

typedef enum give_result {
    GIVE_DONE, /* the lane has the request */
    GIVE_LOST, /* the lane is unusable: try another one */
    GIVE_LATER /* nothing can be given for now */
} give_result;

static give_result give(lane *l, request *r, const uint8_t *bytes, size_t len,
                        uint64_t now_ns) {
    switch (lane_send(l, r, bytes, len, now_ns)) {
    case LANE_SENT: return GIVE_DONE;
    case LANE_LATER: return GIVE_LATER;
    case LANE_BUSY: break;
    case LANE_LOST: worker_channel_ended(l->worker); break;
    case LANE_BROKEN: worker_kill(l->worker, "channel"); break;
    }
    return GIVE_LOST;
}

/* Returns a ready, free lane that hosts the app, or NULL. */
static lane *find_lane(const arbiter *a, const app *p) {
    lane *l;
    DL_FOREACH (a->idle, l)
        if (deal_at(l->deal, p) >= 0)
            return l;
    return NULL;
}

/* Returns the oldest request of the best priority among the apps that the worker hosts,
 * or NULL. */
static request *best_waiting(const deal *d) {
    request *best = NULL;
    for (uint32_t i = 0; i < d->app_count; i++) {
        const app *candidate = d->apps[i];
        if (candidate->waiting_bits == 0)
            continue;
        request *r = candidate->waiting[__builtin_ctz(candidate->waiting_bits)];
        if (best == NULL || r->priority < best->priority ||
            (r->priority == best->priority && r->order < best->order))
            best = r;
    }
    return best;
}

/* Returns the best waiting request whose caller is still connected, or NULL. libuv
 * reports hang-ups once per turn of the loop. After a long turn (the process was
 * stopped or busy), callers of queued requests may have left unnoticed. */
static request *next_waiting(const lane *l, uint64_t now_ns) {
    request *r;
    while ((r = best_waiting(l->deal)) != NULL && now_ns - r->arrived_ns > UNSEEN_NS &&
           conn_is_hung_up(r->conn))
        conn_abandon(r->conn);
    return r;
}

/* Give an idle lane the best waiting request. Returns GIVE_LATER if there is none or if
 * it can't be given for now. */
static give_result serve_next(lane *l) {
    if (l->a->queued == 0)
        return GIVE_LATER;
    uint64_t now_ns = dirty_now_ns();
    request *r = next_waiting(l, now_ns);
    if (r == NULL)
        return GIVE_LATER;
    conn *c = r->conn;
    size_t have = c->in.len < r->frame_len ? c->in.len : r->frame_len;
    if (r->upload.open)
        have = 0; /* the file holds all bytes */
    give_result given = give(l, r, c->in.base, have, now_ns);
    if (given == GIVE_DONE)
        conn_running(c, have);
    if (given == GIVE_LOST)
        arbiter_mark(l->a, MARK_REMATCH); /* another lane may take it */
    return given;
}

void dispatch_pull(lane *l) {
    if (!l->ready || l->busy || !worker_takes_requests(l->worker))
        worker_progress(l->worker);
    else if (serve_next(l) == GIVE_LATER) {
        lane_note_idle(l);
        if (l->wanted)
            lane_resume(l); /* nothing waits for it any more */
    }
}

void dispatch_rematch(arbiter *a) {
    lane *l;
    for (bool more = true; more;) {
        more = false;
        DL_FOREACH (a->idle, l)
            if (a->queued > 0 && best_waiting(l->deal) != NULL) {
                more = serve_next(l) != GIVE_LATER;
                break;
            }
    }
}

void dispatch_drop_app(arbiter *a, app *gone) {
    conn *c;
    app_hide(a, gone);
    DL_FOREACH (a->conns, c)
        if (c->state == CONN_READING && c->request.app == gone)
            c->request.app = NULL; /* looked up again once the request is whole */
    for (int priority = 0; priority <= DIRTY_PRIORITY_LAST; priority++)
        while (gone->waiting[priority] != NULL)
            reply_app_removed(gone->waiting[priority]->conn);
}

void dispatch_fail_hopeless(arbiter *a) {
    app *what;
    DL_FOREACH (a->apps, what) {
        for (int i = 0; i <= DIRTY_PRIORITY_LAST && !availability_has_hope(a, what); i++)
            while (what->waiting[i] != NULL)
                reply_no_workers(what->waiting[i]->conn);
    }
}

/* -- Decoding and admission ------------------------------------------------------ */

typedef enum look_result {
    LOOK_MORE, /* undecided: wait for more bytes */
    LOOK_TAKEN /* the connection has left its state */
} look_result;

/* Make `in` hold the bytes from `used` on. `bytes` may be `in` itself or the scratch.
 * Returns false if memory runs out, now or before: a failed buffer is kept, because it
 * records that bytes were lost. */
static bool keep_rest(conn *c, const uint8_t *bytes, size_t len, size_t used) {
    arbiter *a = c->a;
    if (used < len && c->in.cap == 0 && !dirty_buf_failed(&c->in) &&
        a->spare_input_count > 0)
        c->in = a->spare_inputs[--a->spare_input_count];
    if (used < len && bytes != c->in.base)
        dirty_buf_append(&c->in, bytes + used, len - used);
    return !dirty_buf_failed(&c->in);
}

/* Returns the time in ns that a lane has to receive the rest, 0: unlimited. Time in the
 * queue doesn't count. */
static uint64_t receive_time_left(const conn *c, uint64_t now_ns) {
    uint64_t all_ns = c->a->o->recv_timeout_ms * DIRTY_NS_PER_MS;
    uint64_t used_ns = now_ns - c->request.arrived_ns;
    if (all_ns == 0)
        return 0;
    return used_ns < all_ns ? all_ns - used_ns : 1;
}

static void note_names(conn *c, const dirty_route *route) {
    c->request.action_len = (uint8_t)route->action.len;
    memcpy(c->request.action, route->action.base, route->action.len);
    c->request.action[route->action.len] = '\0';
}

/* Returns when the caller or the arbiter gives up, in ns. 0: never. */
static uint64_t deadline_of(const conn *c, const dirty_route *route) {
    const app *p = c->request.app;
    return dirty_route_deadline_ns(route, c->request.arrived_ns,
                                   p != NULL ? p->spec->timeout_ms : 0);
}

/* Returns how many ns ago the deadline passed, 0: it has not. Budgets count from the
 * first byte read. So if all bytes came at once, only an absolute deadline can have
 * passed. */
static uint64_t late_by_ns(const conn *c, uint64_t now_ns) {
    bool late = c->request.deadline_ns != 0 && c->request.deadline_ns < now_ns;
    return late ? now_ns - c->request.deadline_ns : 0;
}

static void reply_late(conn *c, dirty_slice app_name, uint64_t late_ns) {
    error_reply r = {DIRTY_CODE_TIMEOUT, "no", "queue", NULL, false};
    reply_error(
        c, &r,
        "%.*s.%s was not started: its deadline had passed %llu ms before it was read",
        (int)app_name.len, app_name.base, c->request.action,
        (unsigned long long)(late_ns / DIRTY_NS_PER_MS));
}

/* Store what the route says, before the request is admitted. */
static void note_route(conn *c, const dirty_route *route, uint64_t now_ns) {
    c->request.priority = route->priority;
    c->request.order = ++c->a->last_order;
    c->request.recv_left_ns = c->request.whole ? 0 : receive_time_left(c, now_ns);
    c->request.deadline_ns = deadline_of(c, route);
}

/* Give the request to a free lane, or queue it if there is room. It may be incomplete
 * if it is larger than the head buffer. */
static void admit(conn *c, const uint8_t *bytes, size_t len, uint64_t now_ns) {
    arbiter *a = c->a;
    size_t have = len < c->request.frame_len ? len : c->request.frame_len;
    bool open = a->phase <= (a->departs ? ARBITER_DRAINING : ARBITER_SERVING);
    lane *l = NULL;
    give_result given = GIVE_LOST; /* a lost lane is no longer idle */
    while (open && given == GIVE_LOST && (l = find_lane(a, c->request.app)) != NULL)
        given = give(l, &c->request, bytes, have, now_ns);
    if (l != NULL && given == GIVE_DONE) {
        keep_rest(c, bytes, len, have);
        conn_running(c, bytes == c->in.base ? have : 0);
        return;
    }
    if (!keep_rest(c, bytes, len, 0))
        conn_fail(c);
    else if (!open)
        reply_shutdown(c, "no");
    else if (!availability_has_hope(a, c->request.app))
        reply_no_workers(c);
    else if (!app_has_room(a, c->request.app))
        reply_overloaded(c);
    else
        conn_wait(c);
}

static look_result fault(conn *c, const uint8_t *bytes, size_t len,
                         dirty_wire_fault what) {
    c->a->counters.requests++;
    keep_rest(c, bytes, len, 0);
    reply_wire_fault(c, what);
    return LOOK_TAKEN;
}

/* Decode the next request and decide what to do with it. `bytes` is c->in or the
 * arbiter's scratch. `full`: no more is read before the request is passed on. Bytes in
 * the scratch that are needed later are copied into c->in. */
static look_result look(conn *c, const uint8_t *bytes, size_t len, bool full) {
    arbiter *a = c->a;
    dirty_frame frame = {0};
    dirty_route route;
    dirty_wire_fault what =
        dirty_frame_decode(bytes, len, a->o->limits.max_message, &frame);
    if (what == DIRTY_WIRE_MORE)
        return LOOK_MORE;
    c->request.id = frame.id;
    if (what == DIRTY_WIRE_OK && frame.type != DIRTY_FRAME_REQUEST)
        what = DIRTY_WIRE_BAD_TYPE;
    if (what != DIRTY_WIRE_OK)
        return fault(c, bytes, len, what);
    c->request.frame_len = DIRTY_FRAME_HEADER_LEN + frame.payload_len;
    bool whole = len >= c->request.frame_len;
    size_t have = (whole ? c->request.frame_len : len) - DIRTY_FRAME_HEADER_LEN;
    what = dirty_route_decode(bytes + DIRTY_FRAME_HEADER_LEN, have, frame.payload_len,
                              &route);
    if (what < DIRTY_WIRE_OK)
        return fault(c, bytes, len, what);
    if (what == DIRTY_WIRE_MORE)
        return LOOK_MORE;
    c->request.app = app_find(a, route.app);
    note_names(c, &route); /* errors while the rest comes name the app and action */
    if (!whole && !full)
        return LOOK_MORE;

    a->counters.requests++;
    c->request.whole = whole;
    /* The clock was read when the first bytes came, which was just now in IDLE. */
    uint64_t now_ns = c->state == CONN_READING ? dirty_now_ns() : c->request.arrived_ns;
    note_route(c, &route, now_ns);
    uint64_t late_ns = late_by_ns(c, now_ns);
    if (c->request.app != NULL && late_ns == 0) {
        admit(c, bytes, len, now_ns);
        return LOOK_TAKEN;
    }
    char name[DIRTY_NAME_MAX];
    memcpy(name, route.app.base, route.app.len);
    dirty_slice app_name = {name, route.app.len};
    if (!keep_rest(c, bytes, len, 0))
        conn_fail(c);
    else if (late_ns > 0)
        reply_late(c, app_name, late_ns);
    else if (name[0] == '@')
        a->reserved_app(c, app_name);
    else
        reply_no_app(c, app_name);
    return LOOK_TAKEN;
}

/* -- Reading --------------------------------------------------------------------- */

/* Handle the end of input. Inside a request it is a fault. Between requests it ends the
 * connection. */
static void end_of_input(conn *c) {
    c->eof = true;
    if (conn_is_hung_up(c))
        conn_abandon(c);
    else if (c->state == CONN_READING || c->state == CONN_GATHERING)
        reply_wire_fault(c, DIRTY_WIRE_TRUNCATED);
    else
        conn_close(c);
}

/* Wait for the rest of a request that has begun. */
static void wait_for_more(conn *c) {
    uint32_t ms = c->a->o->recv_timeout_ms;
    if (c->state == CONN_IDLE) {
        conn_set_state(c, CONN_READING);
        conn_wake_at(c, ms ? c->request.arrived_ns + ms * DIRTY_NS_PER_MS : 0);
    }
    if (c->eof)
        end_of_input(c);
    else
        conn_poll(c, CONN_INPUT);
}

/* Read the first bytes into the arbiter's scratch: a request that is dispatched at once
 * is then never copied. */
void dispatch_input(conn *c) {
    arbiter *a = c->a;
    bool fresh = c->in.len == 0;
    if (c->looking)
        return; /* the step handles it */
    if (!fresh && dirty_buf_reserve(&c->in, DIRTY_HEAD_BYTES_MAX - c->in.len) < 0) {
        conn_fail(c);
        return;
    }
    uint8_t *at = fresh ? a->scratch : c->in.base + c->in.len;
    ssize_t n = recv(c->fd, at, DIRTY_HEAD_BYTES_MAX - c->in.len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        conn_close(c);
        return;
    }
    if (n == 0) {
        end_of_input(c);
        return;
    }
    const uint8_t *bytes = fresh ? a->scratch : c->in.base;
    size_t len = c->in.len + (size_t)n;
    if (!fresh)
        c->in.len = len;
    if (c->state == CONN_IDLE)
        c->request.arrived_ns = dirty_now_ns();
    if (look(c, bytes, len, len >= DIRTY_HEAD_BYTES_MAX) == LOOK_TAKEN)
        return;
    if (fresh)
        dirty_buf_append(&c->in, bytes, len);
    if (dirty_buf_failed(&c->in))
        conn_fail(c);
    else
        wait_for_more(c);
}

void dispatch_next(conn *c) {
    if (c->state != CONN_IDLE)
        return;
    if (c->in.len == 0) {
        end_of_input(c);
        return;
    }
    bool full = c->in.len >= DIRTY_HEAD_BYTES_MAX;
    c->request.arrived_ns = dirty_now_ns();
    if (look(c, c->in.base, c->in.len, full) == LOOK_MORE)
        wait_for_more(c);
}

/* Read early: the bytes have to be read anyway. Often the answer is already sent and
 * the lane's DONE comes next. */
void dispatch_early(conn *c) {
    size_t room = DIRTY_HEAD_BYTES_MAX - c->in.len;
    ssize_t n = room > 0 ? recv(c->fd, c->a->scratch, room, MSG_DONTWAIT) : -1;
    bool kept = n > 0 && keep_rest(c, c->a->scratch, (size_t)n, 0);
    if (n == 0)
        c->eof = true;
    if (kept && c->in.len < DIRTY_HEAD_BYTES_MAX)
        return;
    if (conn_is_hung_up(c))
        conn_hung_up(c);
    else
        conn_watch_hangup(c);
}

void dispatch_rest(conn *c) {
    request *r = &c->request;
    switch (upload_receive(c->a, &r->upload, c->fd, r->frame_len)) {
    case UPLOAD_MORE: break;
    case UPLOAD_WHOLE:
        r->whole = true;
        conn_wait_again(c);
        break;
    case UPLOAD_END: end_of_input(c); break;
    case UPLOAD_FULL: reply_uploads_full(c); break;
    case UPLOAD_BROKEN: conn_close(c); break;
    }
}
