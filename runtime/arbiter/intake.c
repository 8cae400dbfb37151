#include "arbiter/intake.h"

#include <string.h>

#include "arbiter/lane.h"
#include "arbiter/place.h"
#include "arbiter/refusal.h"
#include "arbiter/service.h"
#include "base/clock.h"
#include "wire/request.h"

/* Make `in` hold all bytes from `used` on, wherever they are now. False: no memory. */
static bool keep_rest(session *s, const uint8_t *bytes, size_t len, size_t used) {
    if (bytes != s->in.base)
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
    lane_send_result sent = LANE_LOST; /* a lost lane is none of the idle any more */
    while (open && sent == LANE_LOST && (l = lane_find(a, s->request.app)) != NULL)
        sent = lane_dispatch(l, s, bytes, have);
    if (l != NULL && sent == LANE_SENT) {
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

static intake_result fault(session *s, const uint8_t *bytes, size_t len,
                           dirty_wire_fault what) {
    s->a->counters.requests++;
    keep_rest(s, bytes, len, 0);
    refuse_fault(s, what);
    return INTAKE_TAKEN;
}

intake_result intake_look(session *s, const uint8_t *bytes, size_t len, bool full) {
    arbiter *a = s->a;
    dirty_frame frame = {0};
    dirty_route route;
    dirty_wire_fault what =
        dirty_frame_decode(bytes, len, a->o->limits.max_message, &frame);
    if (what == DIRTY_WIRE_MORE)
        return INTAKE_MORE;
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
        return INTAKE_MORE;
    s->request.app = app_find(a, route.app);
    note_names(s, &route); /* an error while the rest comes can tell them */
    if (!whole && !full)
        return INTAKE_MORE;

    a->counters.requests++;
    s->request.whole = whole;
    note_route(s, &route);
    uint64_t late_ns = late_by_ns(s);
    if (s->request.app != NULL && late_ns == 0) {
        admit(s, bytes, len);
        return INTAKE_TAKEN;
    }
    char name[DIRTY_NAME_MAX];
    memcpy(name, route.app.base, route.app.len);
    dirty_slice app_name = {name, route.app.len};
    if (!keep_rest(s, bytes, len, 0))
        session_fail(s);
    else if (late_ns > 0)
        refuse_late(s, app_name, late_ns);
    else if (name[0] == '@')
        service_answer(s, app_name);
    else
        refuse_app(s, app_name);
    return INTAKE_TAKEN;
}
