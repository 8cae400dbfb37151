#include "arbiter/ready_lanes.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "arbiter/conn.h"
#include "arbiter/dispatch.h"
#include "arbiter/shared_conns.h"
#include "arbiter/worker.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/frame.h"
#include "wire/request.h"

/* Looks while no lane waits, and while some do. */
#define FAST_MS 5
#define SLOW_MS 250
/* Fast looks go on for so many in a row at which lanes waited. */
#define CALM_LOOKS 10
/* A look asks the kernel about so many connections at most; the next one goes on. */
#define CONNS_PER_FAST_LOOK 1000u
#define CONNS_PER_SLOW_LOOK 8000u
/* How long a request may be left to lanes that make progress. */
#define PATIENCE_NS (50 * DIRTY_NS_PER_MS)
/* A lane may be busy without a call that can be adopted for so long. Usually it is a
 * matter of microseconds; but it may collect a large heap, or wait for a log. */
#define CONTRADICTION_NS (5000 * DIRTY_NS_PER_MS)

/* How many connections are looked at to find one to evict. */
#define EVICT_TRIES 32

struct ready_lanes {
    arbiter *a;
    uv_timer_t timer;
    uv_poll_t bell;
    int open_handles;
    bool fast;           /* looks come every FAST_MS */
    unsigned calm_looks; /* fast looks in a row at which lanes waited */
    uint64_t served;     /* by all lanes, at the last look */
    bool stopping;       /* take back all connections */
    uint32_t cursor;     /* slot of the connection looked at last */
};

static void on_look(uv_timer_t *handle);

static void look_every(ready_lanes *r, uint32_t ms) {
    r->fast = ms == FAST_MS;
    r->calm_looks = 0;
    uv_timer_start(&r->timer, on_look, ms, ms);
}

/* -- Adopting ---------------------------------------------------------------------- */

static app *find_hosted(const lane *l, dirty_slice name) {
    for (uint32_t i = 0; i < l->deal->app_count; i++)
        if (dirty_slice_equals(name, l->deal->apps[i]->name, l->deal->apps[i]->name_len))
            return l->deal->apps[i];
    return NULL;
}

/* Fill the request from the bytes that the lane received. Returns false if they are not
 * what a lane serves: the lane will give them to the arbiter, or an app has overwritten
 * the page. */
static bool read_head(const lane *l, conn *c) {
    uint8_t
        head[DIRTY_DIRECT_BYTES_MAX]; /* the lane's app could change it while we read */
    dirty_frame frame;
    dirty_route route;
    request *r = &c->request;
    uint32_t len = atomic_load(&l->page->received);
    if (len == 0 || len > sizeof head)
        return false;
    memcpy(head, l->page->head, len);
    if (!dirty_request_is_whole(head, len, l->a->o->limits.max_message, &frame, &route))
        return false;
    r->app = find_hosted(l, route.app);
    if (r->app == NULL)
        return false;
    uint64_t now_ns = dirty_now_ns();
    uint64_t received_ns = atomic_load(&l->page->received_ns);
    r->id = frame.id;
    r->frame_len = DIRTY_FRAME_HEADER_LEN + frame.payload_len;
    r->whole = true;
    r->priority = route.priority;
    r->arrived_ns = received_ns < now_ns ? received_ns : now_ns;
    r->deadline_ns =
        dirty_route_deadline_ns(&route, r->arrived_ns, r->app->spec->timeout_ms);
    r->order = ++l->a->last_order;
    memcpy(r->action, route.action.base, route.action.len);
    r->action[route.action.len] = '\0';
    r->action_len = (uint8_t)route.action.len;
    return true;
}

static uint32_t owner_of(const lane *l) {
    return DIRTY_BOARD_LANE + l->worker->lane_id;
}

/* Returns the connection that the lane says it has taken, if the board agrees. NULL:
 * none. */
static conn *conn_of(const lane *l) {
    uint64_t connection = atomic_load(&l->page->connection);
    conn *c = shared_conns_find(l->a, (uint32_t)connection, (uint32_t)(connection >> 32));
    return c != NULL && c->state == CONN_SHARED && shared_conns_owner(c) == owner_of(l)
               ? c
               : NULL;
}

/* Make the call that the lane took itself a request of the arbiter. Returns false if
 * there is none that is not answered yet. */
static bool adopt(lane *l) {
    if (l->busy || !l->joined || l->ended || l->page == NULL)
        return false;
    uint64_t word = dirty_baton_load(l->page);
    uint64_t seq = dirty_baton_seq(word);
    conn *c = conn_of(l);
    /* First read, then swap: that the swap finds the same request proves that what was
     * read belongs to it. In READING it may be something that the lane will give to us.
     * The page's zeros say nothing of a lane that lives: it may receive meanwhile. */
    if (c == NULL || !read_head(l, c) || !dirty_baton_adopt(l->page, seq))
        return false;
    lane_adopt(l, &c->request, seq);
    conn_adopted(c);
    return true;
}

static void adopt_all(arbiter *a) {
    worker *w;
    DL_FOREACH (a->workers, w)
        for (uint32_t i = 0; i < w->lane_count; i++)
            adopt(&w->lanes[i]);
}

void ready_lanes_adopt(arbiter *a) {
    if (a->ready != NULL && a->shared->count > 0)
        adopt_all(a);
}

/* Look at the lane's baton. A call that was there at the last look is adopted. */
static void look_at_lane(lane *l) {
    uint64_t word = dirty_baton_load(l->page), now_ns = dirty_now_ns();
    if (l->unsent && !l->busy && dirty_baton_is_idle(word))
        lane_resume(l); /* it waits for a message that could not be sent */
    if (word != l->seen_word || dirty_baton_is_idle(word)) {
        l->seen_word = word;
        l->seen_ns = now_ns;
        return;
    }
    if (adopt(l) || l->busy || l->ended || now_ns - l->seen_ns < CONTRADICTION_NS)
        return;
    lane_drain_channel(l); /* it may wait for us */
    if (l->ended || l->page == NULL || dirty_baton_load(l->page) != word)
        return;
    dirty_log(DIRTY_LOG_WARN, "a lane has taken no request but is not idle, it is killed",
              "worker=%u worker_pid=%d", l->worker_number, (int)l->worker_pid);
    worker_kill(l->worker, "channel");
}

/* -- Taking back ------------------------------------------------------------------- */

/* Own the connection again and read from it. Returns false if a lane owns it. */
static bool take_back(conn *c) {
    if (!shared_conns_take(c))
        return false;
    conn_bounced(c, NULL, 0);
    return true;
}

/* May a request wait longer for a lane to come for it? */
static bool is_due(const arbiter *a, const conn *c, bool moving, uint32_t waiting,
                   uint64_t now_ns) {
    return !moving || now_ns - c->seen_ns >= PATIENCE_NS ||
           a->queued + waiting > a->o->max_queue;
}

/* Has the connection input, and has no lane come for it since the last look? Asks the
 * kernel only if no lane has used the connection since then. */
static bool was_seen_before(conn *c, uint64_t now_ns) {
    uint64_t word = atomic_load(&c->a->shared->board->words[c->slot]);
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (word != c->seen_word || dirty_board_owner(word) != DIRTY_BOARD_NOBODY ||
        poll(&p, 1, 0) <= 0) {
        c->seen_word = word;
        c->seen_ns = 0;
        return false;
    }
    if (c->seen_ns != 0)
        return true;
    c->seen_ns = now_ns;
    return false;
}

/* Does the board say of a shared connection what cannot be? Then an app has overwritten
 * it. */
static bool is_contradiction(const conn *c) {
    uint64_t word = atomic_load(&c->a->shared->board->words[c->slot]);
    uint32_t owner = dirty_board_owner(word);
    const worker *w;
    if (dirty_board_ticket(word) != c->ticket)
        return true;
    if (owner == DIRTY_BOARD_NOBODY)
        return false;
    DL_FOREACH (c->a->workers, w)
        if (w->lanes[0].joined && owner == owner_of(&w->lanes[0]))
            return false;
    return true;
}

/* Take back the connections whose requests have found no lane. */
static void look_at_conns(ready_lanes *r, bool moving) {
    arbiter *a = r->a;
    const shared_conns *s = a->shared;
    uint64_t now_ns = dirty_now_ns();
    uint32_t waiting = 0;
    uint32_t most = r->fast ? CONNS_PER_FAST_LOOK : CONNS_PER_SLOW_LOOK;
    uint32_t count = s->last < most ? s->last : most;
    for (; count > 0; count--) {
        r->cursor = r->cursor < s->last ? r->cursor + 1 : 1;
        conn *c = s->conns[r->cursor];
        if (c == NULL || c->state != CONN_SHARED)
            continue;
        if (is_contradiction(c)) {
            conn_close(c);
            continue;
        }
        if (!was_seen_before(c, now_ns))
            continue;
        waiting++;
        if (is_due(a, c, moving, waiting, now_ns) && take_back(c))
            waiting--;
    }
}

static void take_back_all(arbiter *a) {
    const shared_conns *s = a->shared;
    for (uint32_t i = 1; i <= s->last; i++) {
        conn *c = s->conns[i];
        if (c != NULL && c->state == CONN_SHARED)
            take_back(c);
    }
}

bool ready_lanes_evict(arbiter *a) {
    const shared_conns *s = a->shared;
    int tries = 0;
    for (uint32_t i = 1; s != NULL && i <= s->last && tries < EVICT_TRIES; i++) {
        conn *c = s->conns[i];
        if (c == NULL || c->state != CONN_SHARED || !shared_conns_take(c))
            continue;
        tries++;
        if (conn_has_input(c)) { /* its next request has come: not idle any more */
            shared_conns_release(c);
            shared_conns_arm(c);
            continue;
        }
        /* No request can come from here on. One may have come just before. */
        shutdown(c->fd, SHUT_RD);
        conn_set_state(c, CONN_IDLE);
        if (!conn_has_input(c)) {
            a->counters.evicted++;
            conn_close(c);
            return true;
        }
        dispatch_input(c); /* its last request */
    }
    return false;
}

/* -- Looks ------------------------------------------------------------------------- */

static bool a_lane_waits(const arbiter *a) {
    const worker *w;
    DL_FOREACH (a->workers, w)
        for (uint32_t i = 0; i < w->lane_count; i++) {
            const lane *l = &w->lanes[i];
            if (l->joined && !l->ended && l->page != NULL &&
                atomic_load(&l->page->asleep) != 0)
                return true;
        }
    return false;
}

/* Choose the time of the next look. */
static void pace(ready_lanes *r) {
    arbiter *a = r->a;
    bool waits = a_lane_waits(a) && !r->stopping;
    if (a->shared->count == 0) {
        uv_timer_stop(&r->timer);
        return;
    }
    r->calm_looks = waits ? r->calm_looks + 1 : 0;
    if (!r->fast && !waits)
        look_every(r, FAST_MS);
    if (r->fast && r->calm_looks >= CALM_LOOKS)
        look_every(r, SLOW_MS);
    if (r->fast)
        return;
    atomic_store(&a->shared->board->bell_armed, 1);
    if (!a_lane_waits(a)) /* the last one left before it could see that */
        look_every(r, FAST_MS);
}

static void look(ready_lanes *r) {
    arbiter *a = r->a;
    worker *w;
    uint64_t served = 0;
    atomic_store(&a->shared->board->alive_ns, dirty_now_ns());
    DL_FOREACH (a->workers, w) {
        if (w->state != WORKER_READY && w->state != WORKER_DRAINING)
            continue;
        for (uint32_t i = 0; i < w->lane_count; i++)
            if (w->lanes[i].joined && w->lanes[i].page != NULL)
                look_at_lane(&w->lanes[i]);
        worker_look_at_pages(w);
        served += w->served;
    }
    if (r->stopping)
        take_back_all(a);
    else
        look_at_conns(r, served != r->served);
    r->served = served;
    pace(r);
}

static void on_look(uv_timer_t *handle) {
    look(handle->data);
}

static void on_bell(uv_poll_t *handle, int status, int events) {
    ready_lanes *r = handle->data;
    uint64_t rings;
    (void)events;
    if (status < 0 || read(r->a->shared->bell, &rings, sizeof rings) < 0)
        return;
    if (!r->fast && uv_is_active((uv_handle_t *)&r->timer))
        look_every(r, FAST_MS);
}

void ready_lanes_open(arbiter *a) {
    ready_lanes *r = a->boot->fast_path ? calloc(1, sizeof *r) : NULL;
    if (r == NULL)
        return;
    shared_conns_open(a);
    if (a->shared == NULL || uv_poll_init(&a->loop, &r->bell, a->shared->bell) < 0) {
        shared_conns_close(a);
        free(r);
        return;
    }
    r->a = a;
    uv_timer_init(&a->loop, &r->timer);
    r->timer.data = r->bell.data = r;
    r->open_handles = 2;
    uv_poll_start(&r->bell, UV_READABLE, on_bell);
    a->ready = r;
}

static void on_closed(uv_handle_t *handle) {
    ready_lanes *r = handle->data;
    if (--r->open_handles == 0)
        free(r);
}

void ready_lanes_close(arbiter *a) {
    ready_lanes *r = a->ready;
    a->ready = NULL;
    if (r == NULL)
        return;
    uv_close((uv_handle_t *)&r->timer, on_closed);
    uv_close((uv_handle_t *)&r->bell, on_closed);
}

/* -- Who shares -------------------------------------------------------------------- */

/* A lane of a worker that takes requests and may serve shared connections. */
static bool may_join(const worker *w) {
    return worker_takes_requests(w) && worker_may_share(w);
}

/* May lanes take the app's requests themselves? All of them must host it, or they would
 * take what they can't serve. An app that is limited to fewer lanes, or whose queue is
 * shorter than there are lanes, needs the arbiter's order. */
static bool is_direct(const arbiter *a, const app *p) {
    const worker *w;
    uint32_t lanes = 0;
    if (!p->shown || p->spec == NULL || p->spec->exclusive)
        return false;
    DL_FOREACH (a->workers, w) {
        if (!may_join(w))
            continue;
        if (worker_hosts(w, p) < 0)
            return false;
        lanes++;
    }
    return lanes > 0 && p->spec->max_queue >= lanes;
}

void ready_lanes_step(arbiter *a) {
    if (a->ready == NULL)
        return;
    app *p;
    DL_FOREACH (a->apps, p)
        p->direct = is_direct(a, p);
    bool some = false;
    worker *w;
    DL_FOREACH (a->workers, w) {
        some = some || may_join(w);
        if (may_join(w) && !w->lanes[0].joined && w->lanes[0].ready)
            lane_resume(&w->lanes[0]);
    }
    bool was_open = a->shared->open;
    a->shared->open =
        some && a->phase == ARBITER_SERVING && a->o->fast_path && !a->ready->stopping;
    if (was_open && !a->shared->open && a->phase == ARBITER_SERVING)
        take_back_all(a); /* nobody would come for their requests */
}

void ready_lanes_wake(arbiter *a) {
    worker *w;
    if (a->ready == NULL)
        return;
    atomic_store(&a->shared->board->alive_ns, dirty_now_ns());
    DL_FOREACH (a->workers, w)
        if (w->lanes[0].joined && !w->lanes[0].ended && !lane_has_call(&w->lanes[0]))
            lane_resume(&w->lanes[0]); /* one with a call sees it by itself */
    if (uv_is_active((uv_handle_t *)&a->ready->timer))
        return; /* there were shared connections a moment ago */
    look_every(a->ready, SLOW_MS);
    pace(a->ready);
}

void ready_lanes_stop(arbiter *a) {
    if (a->ready == NULL || a->ready->stopping)
        return;
    a->ready->stopping = true;
    a->shared->open = false;
    look_every(a->ready, FAST_MS);
    take_back_all(a);
}

/* -- Messages ---------------------------------------------------------------------- */

void ready_lanes_bounced(lane *l, const dirty_msg_bounced *m, const uint8_t *bytes) {
    arbiter *a = l->a;
    conn *c = shared_conns_find(a, m->slot, m->ticket);
    if (c == NULL || c->state != CONN_SHARED || shared_conns_owner(c) != owner_of(l))
        return; /* it has ended meanwhile, or has been adopted: DONE comes */
    shared_conns_seize(c);
    a->counters.bounced++;
    if (m->end != DIRTY_CONNECTION_KEEP && conn_set_state(c, CONN_IDLE))
        conn_done(c, (int)m->end);
    else
        conn_bounced(c, bytes, m->len);
}

void ready_lanes_needs(lane *l, const dirty_msg_connection *m) {
    const conn *c = shared_conns_find(l->a, m->slot, m->ticket);
    dirty_msg_connection answer = {
        .kind = DIRTY_MSG_COPY, .slot = m->slot, .ticket = m->ticket};
    bool may = c != NULL && shared_conns_owner(c) == owner_of(l);
    if (may) {
        answer.peer_pid = c->request.peer_pid;
        answer.peer_uid = c->request.peer_uid;
    }
    lane_send_copy(l, &answer, may ? c->fd : -1);
}

void ready_lanes_started(lane *l, uint64_t seq) {
    if (dirty_baton_seq(dirty_baton_load(l->page)) == seq)
        adopt(l);
}

void ready_lanes_hung_up(conn *c) {
    if (c->state == CONN_SHARED) {
        worker *w;
        uint32_t owner = shared_conns_owner(c);
        if (take_back(c))
            return;
        DL_FOREACH (c->a->workers, w)
            if (w->lane_count == 1 && owner == owner_of(&w->lanes[0]))
                adopt(&w->lanes[0]);
    }
    if ((c->state == CONN_QUEUED || c->state == CONN_RUNNING) && !c->gone)
        conn_hung_up(c);
}

/* -- Death of a lane --------------------------------------------------------------- */

/* Has the dead lane received something, even if it could not say so any more? */
static bool has_received(const lane *l) {
    static const uint8_t zeros[DIRTY_DIRECT_MARK_BYTES];
    return memcmp(l->page->head, zeros, sizeof zeros) != 0;
}

/* The dead lane had received a part of a request, which it would have sent to the
 * arbiter. Read on from there. Returns false if it was a whole request, or if the page
 * does not tell how much it was. */
static bool give_back_part(const lane *l, conn *c) {
    uint8_t head[DIRTY_DIRECT_BYTES_MAX];
    dirty_frame frame;
    uint32_t len = atomic_load(&l->page->received);
    if (len == 0 || len > sizeof head)
        return false;
    memcpy(head, l->page->head, len);
    dirty_wire_fault fault =
        dirty_frame_decode(head, len, l->a->o->limits.max_message, &frame);
    if (fault == DIRTY_WIRE_OK && len >= DIRTY_FRAME_HEADER_LEN + frame.payload_len)
        return false;
    shared_conns_seize(c);
    conn_bounced(c, head, len);
    return true;
}

/* Read from its page what the dead lane did with the connection that it owned. If it had
 * begun a request, that is the lane's request now. */
static void inherit(lane *l, conn *c) {
    uint64_t word = dirty_baton_load(l->page);
    uint64_t connection = atomic_load(&l->page->connection);
    bool named =
        (uint32_t)connection == c->slot && (uint32_t)(connection >> 32) == c->ticket;
    dirty_baton_state state = dirty_baton_state_of(word);
    if (!named) {
        conn_close(c); /* a lane owns one connection, the one it names */
        return;
    }
    bool begun = state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_WRITING ||
                 (state == DIRTY_BATON_READING && has_received(l));
    if (l->busy || !begun) {
        /* Nothing of its next request was read. */
        shared_conns_seize(c);
        shared_conns_release(c);
        shared_conns_arm(c);
        return;
    }
    if (state == DIRTY_BATON_READING && give_back_part(l, c))
        return;
    if (!read_head(l, c)) {
        conn_close(c);
        return;
    }
    lane_adopt(l, &c->request, dirty_baton_seq(word));
    conn_adopted(c);
}

void ready_lanes_settle(lane *l) {
    const shared_conns *s = l->a->shared;
    uint32_t id = l->worker->lane_id;
    if (s == NULL || !l->joined || l->page == NULL)
        return;
    atomic_fetch_and(&s->board->waiting[id / 64], ~(1ull << id % 64));
    for (uint32_t i = 1; i <= s->last; i++) {
        conn *c = s->conns[i];
        if (c == NULL)
            continue;
        if (c->state == CONN_SHARED && shared_conns_owner(c) == owner_of(l))
            inherit(l, c);
        else
            shared_conns_arm(c); /* the lane may have swallowed its event */
    }
}
