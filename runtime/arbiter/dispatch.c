#include "arbiter/dispatch.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "arbiter/availability.h"
#include "arbiter/lane.h"
#include "arbiter/refusal.h"
#include "arbiter/worker.h"
#include "base/clock.h"
#include "wire/request.h"

/* A request that has waited longer may be one whose caller has hung up unseen. */
#define UNSEEN_NS (10 * DIRTY_NS_PER_MS)

/* -- Lanes and requests ---------------------------------------------------------------
 */

typedef enum give_result {
    GIVE_DONE, /* the lane has it */
    GIVE_LOST, /* the lane is none that can be used any more: another one may take it */
    GIVE_LATER /* it can't be given for now */
} give_result;

static give_result give(lane *l, request *r, const uint8_t *bytes, size_t len) {
    switch (lane_send(l, r, bytes, len)) {
    case LANE_SENT: return GIVE_DONE;
    case LANE_LATER: return GIVE_LATER;
    case LANE_LOST: worker_channel_ended(l->worker); break;
    case LANE_BROKEN: worker_kill(l->worker, "channel"); break;
    }
    return GIVE_LOST;
}

/* A lane that is ready, free and hosts the app; NULL: there is none. */
static lane *find_lane(const arbiter *a, const app *p) {
    lane *l;
    DL_FOREACH (a->idle, l)
        if (deal_at(l->deal, p) >= 0)
            return l;
    return NULL;
}

/* The oldest of the best priority over the apps that the worker hosts. */
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

/* The best waiting request whose caller is still there. What happened to a connection is
 * told once per turn of the loop: where one has taken longer (we were stopped, or busy),
 * callers may have hung up whose requests still wait. */
static request *next_waiting(const lane *l) {
    request *r = NULL;
    while (l->a->queued > 0 && (r = best_waiting(l->deal)) != NULL &&
           dirty_now_ns() - r->arrived_ns > UNSEEN_NS && session_is_hung_up(r->conn)) {
        session_abandon(r->conn);
        r = NULL;
    }
    return r;
}

/* Give an idle lane the best waiting request. GIVE_LATER: there is none, or it can't be
 * given for now. */
static give_result serve_next(lane *l) {
    request *r = next_waiting(l);
    if (r == NULL)
        return GIVE_LATER;
    session *s = r->conn;
    size_t have = s->in.len < r->frame_len ? s->in.len : r->frame_len;
    if (r->upload.open)
        have = 0; /* all of it is in the file */
    give_result given = give(l, r, s->in.base, have);
    if (given == GIVE_DONE)
        session_running(s, have);
    if (given == GIVE_LOST)
        arbiter_mark(l->a, MARK_REMATCH); /* another lane may take it */
    return given;
}

void dispatch_pull(lane *l) {
    if (!l->ready || l->busy || !worker_takes_requests(l->worker))
        worker_progress(l->worker);
    else if (serve_next(l) == GIVE_LATER)
        lane_note_idle(l);
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
    session *s;
    app_hide(a, gone);
    DL_FOREACH (a->sessions, s)
        if (s->state == SESSION_READING && s->request.app == gone)
            s->request.app = NULL; /* looked up again when the request is whole */
    for (int priority = 0; priority <= DIRTY_PRIORITY_LAST; priority++)
        while (gone->waiting[priority] != NULL)
            refuse_removed(gone->waiting[priority]->conn);
}

void dispatch_refuse_hopeless(arbiter *a) {
    app *what;
    DL_FOREACH (a->apps, what) {
        for (int i = 0; i <= DIRTY_PRIORITY_LAST && !places_have_hope(a, what); i++)
            while (what->waiting[i] != NULL)
                refuse_no_workers(what->waiting[i]->conn);
    }
}

/* -- From the first bytes of a request to its fate -------------------------------------
 */

typedef enum look_result {
    LOOK_MORE, /* nothing decided: wait for more bytes */
    LOOK_TAKEN /* the connection's state has moved on */
} look_result;

/* Make `in` hold all bytes from `used` on, wherever they are now. False: no memory. */
static bool keep_rest(session *s, const uint8_t *bytes, size_t len, size_t used) {
    arbiter *a = s->a;
    if (used < len && s->in.cap == 0 && a->spare_input_count > 0)
        s->in = a->spare_inputs[--a->spare_input_count];
    if (used < len && bytes != s->in.base)
        dirty_buf_append(&s->in, bytes + used, len - used);
    return !dirty_buf_failed(&s->in);
}

static uint64_t plus_ms(uint64_t at_ns, uint32_t ms) {
    return ms ? at_ns + ms * DIRTY_NS_PER_MS : 0;
}

/* What a lane has to receive the rest in: the time in the queue doesn't count. */
static uint64_t receive_time_left(const session *s) {
    uint64_t all_ns = s->a->o->recv_timeout_ms * DIRTY_NS_PER_MS;
    uint64_t used_ns = dirty_now_ns() - s->request.arrived_ns;
    if (all_ns == 0)
        return 0;
    return used_ns < all_ns ? all_ns - used_ns : 1;
}

static void note_names(session *s, const dirty_route *route) {
    memcpy(s->request.action, route->action.base, route->action.len);
    s->request.action[route->action.len] = '\0';
}

/* When its caller gives up, or we do; 0: never. */
static uint64_t deadline_of(const session *s, const dirty_route *route) {
    uint64_t at_ns = dirty_earlier_ns(plus_ms(s->request.arrived_ns, route->budget_ms),
                                      route->extension.deadline_ns);
    if (s->request.app == NULL)
        return at_ns;
    return dirty_earlier_ns(
        plus_ms(s->request.arrived_ns, s->request.app->spec->timeout_ms), at_ns);
}

/* How long ago its caller has given up, 0: it has not. Budgets count from the first byte
 * that we read, so only an absolute deadline can have passed where all came at once. */
static uint64_t late_by_ns(const session *s) {
    uint64_t now_ns =
        s->state == SESSION_READING ? dirty_now_ns() : s->request.arrived_ns;
    bool late = s->request.deadline_ns != 0 && s->request.deadline_ns < now_ns;
    return late ? now_ns - s->request.deadline_ns : 0;
}

static void refuse_late(session *s, dirty_slice app_name, uint64_t late_ns) {
    refusal r = {DIRTY_CODE_TIMEOUT, "no", "queue", NULL, false};
    refuse(s, &r,
           "%.*s.%s was not started: its deadline had passed %llu ms before it was read",
           (int)app_name.len, app_name.base, s->request.action,
           (unsigned long long)(late_ns / DIRTY_NS_PER_MS));
}

/* Note what the route says: the request is about to be admitted. */
static void note_route(session *s, const dirty_route *route) {
    s->request.priority = route->priority;
    s->request.order = ++s->a->last_order;
    s->request.recv_left_ns = s->request.whole ? 0 : receive_time_left(s);
    s->request.deadline_ns = deadline_of(s, route);
}

/* A request to one of our apps, whole or as much of it as we take: to a lane if one is
 * free, else to the queue, if there is room. */
static void admit(session *s, const uint8_t *bytes, size_t len) {
    arbiter *a = s->a;
    size_t have = len < s->request.frame_len ? len : s->request.frame_len;
    bool open = a->phase == ARBITER_STARTING || a->phase == ARBITER_SERVING;
    lane *l = NULL;
    give_result given = GIVE_LOST; /* a lost lane is none of the idle any more */
    while (open && given == GIVE_LOST && (l = find_lane(a, s->request.app)) != NULL)
        given = give(l, &s->request, bytes, have);
    if (l != NULL && given == GIVE_DONE) {
        keep_rest(s, bytes, len, have);
        session_running(s, bytes == s->in.base ? have : 0);
        return;
    }
    if (!keep_rest(s, bytes, len, 0))
        session_fail(s);
    else if (!open)
        refuse_shutdown(s, "no");
    else if (!places_have_hope(a, s->request.app))
        refuse_no_workers(s);
    else if (!app_has_room(a, s->request.app))
        refuse_overloaded(s);
    else
        session_wait(s);
}

static look_result fault(session *s, const uint8_t *bytes, size_t len,
                         dirty_wire_fault what) {
    s->a->counters.requests++;
    keep_rest(s, bytes, len, 0);
    refuse_fault(s, what);
    return LOOK_TAKEN;
}

/* Look at the bytes of the next request. `bytes` is s->in or the arbiter's scratch;
 * `full` says that no more will be read before it is passed on. What of scratch is to be
 * kept is copied into s->in. */
static look_result look(session *s, const uint8_t *bytes, size_t len, bool full) {
    arbiter *a = s->a;
    dirty_frame frame = {0};
    dirty_route route;
    dirty_wire_fault what =
        dirty_frame_decode(bytes, len, a->o->limits.max_message, &frame);
    if (what == DIRTY_WIRE_MORE)
        return LOOK_MORE;
    s->request.id = frame.id;
    if (what == DIRTY_WIRE_OK && frame.type != DIRTY_FRAME_REQUEST)
        what = DIRTY_WIRE_BAD_TYPE;
    if (what != DIRTY_WIRE_OK)
        return fault(s, bytes, len, what);
    s->request.frame_len = DIRTY_FRAME_HEADER_LEN + frame.payload_len;
    bool whole = len >= s->request.frame_len;
    size_t have = (whole ? s->request.frame_len : len) - DIRTY_FRAME_HEADER_LEN;
    what = dirty_route_decode(bytes + DIRTY_FRAME_HEADER_LEN, have, frame.payload_len,
                              &route);
    if (what < DIRTY_WIRE_OK)
        return fault(s, bytes, len, what);
    if (what == DIRTY_WIRE_MORE)
        return LOOK_MORE;
    s->request.app = app_find(a, route.app);
    note_names(s, &route); /* an error while the rest comes can tell them */
    if (!whole && !full)
        return LOOK_MORE;

    a->counters.requests++;
    s->request.whole = whole;
    note_route(s, &route);
    uint64_t late_ns = late_by_ns(s);
    if (s->request.app != NULL && late_ns == 0) {
        admit(s, bytes, len);
        return LOOK_TAKEN;
    }
    char name[DIRTY_NAME_MAX];
    memcpy(name, route.app.base, route.app.len);
    dirty_slice app_name = {name, route.app.len};
    if (!keep_rest(s, bytes, len, 0))
        session_fail(s);
    else if (late_ns > 0)
        refuse_late(s, app_name, late_ns);
    else if (name[0] == '@')
        a->reserved_app(s, app_name);
    else
        refuse_app(s, app_name);
    return LOOK_TAKEN;
}

/* -- Reading --------------------------------------------------------------------------
 */

/* The peer sends nothing more. Inside a request that is a fault, between requests the end
 * of the connection. */
static void end_of_input(session *s) {
    s->eof = true;
    if (session_is_hung_up(s))
        session_abandon(s);
    else if (s->state == SESSION_READING || s->state == SESSION_GATHERING)
        refuse_fault(s, DIRTY_WIRE_TRUNCATED);
    else
        session_close(s);
}

/* A request has begun, and is not here whole. */
static void wait_for_more(session *s) {
    uint32_t ms = s->a->o->recv_timeout_ms;
    if (s->state == SESSION_IDLE) {
        session_set_state(s, SESSION_READING);
        session_wake_at(s, ms ? s->request.arrived_ns + ms * DIRTY_NS_PER_MS : 0);
    }
    if (s->eof)
        end_of_input(s);
    else
        session_poll(s, SESSION_INPUT);
}

/* The first bytes go to the arbiter's scratch, so that a request that is dispatched at
 * once is never copied. */
void dispatch_input(session *s) {
    arbiter *a = s->a;
    bool fresh = s->in.len == 0;
    if (s->looking)
        return; /* its turn comes in the step */
    if (!fresh && dirty_buf_reserve(&s->in, DIRTY_HEAD_BYTES_MAX - s->in.len) < 0) {
        session_fail(s);
        return;
    }
    uint8_t *at = fresh ? a->scratch : s->in.base + s->in.len;
    ssize_t n = recv(s->fd, at, DIRTY_HEAD_BYTES_MAX - s->in.len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        session_close(s);
        return;
    }
    if (n == 0) {
        end_of_input(s);
        return;
    }
    const uint8_t *bytes = fresh ? a->scratch : s->in.base;
    size_t len = s->in.len + (size_t)n;
    if (!fresh)
        s->in.len = len;
    if (s->state == SESSION_IDLE)
        s->request.arrived_ns = dirty_now_ns();
    if (look(s, bytes, len, len >= DIRTY_HEAD_BYTES_MAX) == LOOK_TAKEN)
        return;
    if (fresh)
        dirty_buf_append(&s->in, bytes, len);
    if (dirty_buf_failed(&s->in))
        session_fail(s);
    else
        wait_for_more(s);
}

void dispatch_next(session *s) {
    if (s->state != SESSION_IDLE)
        return;
    if (s->in.len == 0) {
        end_of_input(s);
        return;
    }
    bool full = s->in.len >= DIRTY_HEAD_BYTES_MAX;
    s->request.arrived_ns = dirty_now_ns();
    if (look(s, s->in.base, s->in.len, full) == LOOK_MORE)
        wait_for_more(s);
}

/* Taking it early costs nothing, as it has to be read anyway: often the answer was sent
 * and the lane's DONE is about to come. */
void dispatch_early(session *s) {
    size_t room = DIRTY_HEAD_BYTES_MAX - s->in.len;
    ssize_t n = room > 0 ? recv(s->fd, s->a->scratch, room, MSG_DONTWAIT) : -1;
    if (n > 0)
        dirty_buf_append(&s->in, s->a->scratch, (size_t)n);
    if (n == 0)
        s->eof = true;
    if (n > 0 && s->in.len < DIRTY_HEAD_BYTES_MAX && !dirty_buf_failed(&s->in))
        return;
    if (session_is_hung_up(s))
        session_hung_up(s);
    else
        session_poll(s, UV_PRIORITIZED);
}

void dispatch_rest(session *s) {
    request *r = &s->request;
    switch (upload_receive(s->a, &r->upload, s->fd, r->frame_len)) {
    case UPLOAD_MORE: break;
    case UPLOAD_WHOLE:
        r->whole = true;
        session_wait(s);
        break;
    case UPLOAD_END: end_of_input(s); break;
    case UPLOAD_FULL: refuse_upload(s); break;
    case UPLOAD_BROKEN: session_close(s); break;
    }
}
