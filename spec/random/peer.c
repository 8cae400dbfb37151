#include "spec/random/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "spec/chaos/call.h"
#include "spec/random/peer_read.h"
#include "spec/random/peer_send.h"

/* A connection that was made so shortly after the arbiter was killed may still be its. */
#define DYING_NS (50 * DIRTY_NS_PER_MS)
/* How long another arbiter may take to come, pauses of the supervisor included. */
#define RESTART_NS (15000 * DIRTY_NS_PER_MS)
/* What was sent so long before the stop has been read before it; a connection that nobody
 * has accepted yet may end unread. */
#define READ_NS (30 * DIRTY_NS_PER_MS)
#define ACCEPTED_NS (1500 * DIRTY_NS_PER_MS)

void peer_init(peer *p, world *w) {
    *p = (peer){.w = w, .fd = -1, .notes = {.lines = p->lines, .room = PEER_NOTES}};
}

static void drop_asks(peer *p) {
    for (uint32_t i = 0; i < p->count; i++)
        ask_deinit(&p->asks[i]);
    p->count = 0;
}

void peer_deinit(peer *p) {
    drop_asks(p);
    dirty_buf_deinit(&p->in);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

/* -- Telling
 * ----------------------------------------------------------------------------- */

void peer_note(peer *p, const char *format, ...) {
    char text[HISTORY_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    uint64_t now_ns = dirty_now_ns();
    history_note(&p->notes, now_ns, p->serial, text);
    history_note(&p->w->all, now_ns, p->serial, text);
}

void peer_complain(peer *p, const char *format, ...) {
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (p->w->tally.complaints < COMPLAINTS_PRINTED) {
        world_complain(p->w, "connection %llu: %s", (unsigned long long)p->serial, text);
        fprintf(stderr, "    what happened on it, in ms since it was opened:\n");
        history_print(&p->notes, PEER_NOTES, p->opened_ns, stderr);
    } else {
        p->w->tally.complaints++;
    }
}

/* -- The end
 * ----------------------------------------------------------------------------- */

static void close_now(peer *p, uint64_t now_ns) {
    close(p->fd);
    p->fd = -1;
    p->state = PEER_CLOSED;
    p->next_ns = now_ns;
    drop_asks(p);
}

/* What becomes of asks that got no answer: the one in hand may have run if it was whole,
 * and so may those behind it where nobody has looked whether there are answers. */
static void leave_unanswered(peer *p, bool unread, bool untouched) {
    world *w = p->w;
    for (uint32_t i = p->head; i < p->count; i++) {
        const ask *a = &p->asks[i];
        bool may_have_run = ask_is_whole(a) && !untouched && (unread || i == p->head);
        world_fate(w, a, may_have_run ? "maybe" : "no");
        if (a->first_ns == 0)
            w->tally.unsent++;
        else if (unread)
            w->tally.unread++;
        else
            w->tally.unanswered++;
    }
}

void peer_hang_up(peer *p, uint64_t now_ns, const char *reason) {
    peer_note(p, "hang up, %s", reason);
    if (peer_waits(p))
        world_note_hang_up(p->w, now_ns);
    p->w->tally.hang_ups++;
    if (p->state == PEER_OPEN)
        leave_unanswered(p, true, false);
    close_now(p, now_ns);
}

/* More than a socket's buffer takes: its writer may have had to wait for us. */
#define WAITED_FOR_BYTES 100000

static bool is_large_answer(const peer *p) {
    dirty_frame frame;
    return p->in.len >= DIRTY_FRAME_HEADER_LEN &&
           dirty_frame_decode(p->in.base, p->in.len, DIRTY_MAX_MESSAGE_DEFAULT, &frame) >=
               DIRTY_WIRE_OK &&
           frame.payload_len > WAITED_FOR_BYTES;
}

/* An answer of which only a part came, or none: the deadline of one that is being
 * written, or its reader's slowness, may end it; we are slow where the machine is. */
static bool may_be_cut_short(const peer *p, const ask *a, uint64_t now_ns) {
    const world *w = p->w;
    uint64_t slack_ns = 20 * DIRTY_NS_PER_MS;
    uint64_t over_ns = ask_over_ns(a, a->first_ns, w->app_timeout_ms);
    if (!p->lags && p->in.len == 0)
        return false;
    uint64_t begun_ns = p->lags ? a->first_ns : a->whole_ns;
    if ((p->lags || is_large_answer(p)) &&
        now_ns + slack_ns >= begun_ns + w->send_timeout_ms * DIRTY_NS_PER_MS)
        return true;
    return over_ns != UINT64_MAX &&
           now_ns + slack_ns >= over_ns + w->grace_ms * DIRTY_NS_PER_MS;
}

/* In a graceful stop what was accepted before is answered; the rest may just end. */
static const char *fault_in_stop(const peer *p, const ask *a) {
    if (a == NULL || !ask_is_whole(a) || p->lags || p->in.len > 0)
        return NULL;
    uint64_t since_ns = peer_since_ns(p, a);
    uint64_t ready_ns = a->whole_ns > since_ns ? a->whole_ns : since_ns;
    uint64_t for_ns = p->head > 0 ? READ_NS : ACCEPTED_NS;
    return ready_ns + (uint64_t)((double)for_ns * p->w->slow) < p->w->stopping_ns
               ? "no answer to a request that was there before the stop"
               : NULL;
}

/* Whether a worker may have it. */
static bool is_with_lane(const ask *a) {
    return ask_is_routed(a) && (ask_is_whole(a) || a->sent >= ASK_HEAD_MAX);
}

/* Whether a worker that was killed may be why it ended: the one that has the ask in hand,
 * or the one that had the ask before, when that answer was out and not yet noted to be.
 */
static bool is_lost_worker(const peer *p, const ask *a) {
    if (p->head > 0)
        return world_takes_credit(p->w, p->asks[p->head - 1].first_ns);
    return a != NULL && is_with_lane(a) && world_takes_credit(p->w, a->first_ns);
}

/* Why the server may not have ended the connection. NULL: it may. */
static const char *fault_of_end(peer *p, uint64_t now_ns) {
    world *w = p->w;
    const ask *a = peer_head(p);
    if (a != NULL && a->first_ns == 0)
        a = NULL;
    if (p->sealed)
        return p->in.len > 0 ? "bytes behind a frame that ends the connection" : NULL;
    if (w->beheaded_ns != 0 && p->opened_ns < w->beheaded_ns + DYING_NS)
        return NULL;
    if (p->in.len == 0 && (p->may_end || (a == NULL && p->shut)))
        return NULL;
    if (a != NULL && may_be_cut_short(p, a, now_ns))
        return NULL;
    if (is_lost_worker(p, a))
        return NULL;
    if (w->stopping_ns != 0)
        return fault_in_stop(p, a);
    if (p->in.len > 0)
        return "it ended inside a frame, and no worker was killed";
    if (a != NULL && p->shut && !ask_is_whole(a))
        return "it was half-closed inside a request, and no TRUNCATED came";
    return a != NULL ? "it ended without an answer, and no worker was killed"
                     : "it was ended between requests";
}

void peer_ended(peer *p, uint64_t now_ns, const char *how) {
    peer_note(p, "< %s", how);
    const char *fault = fault_of_end(p, now_ns);
    if (fault != NULL) {
        world_check_arbiter(p->w, now_ns);
        fault = fault_of_end(p, now_ns);
    }
    if (fault != NULL)
        peer_complain(p, "%s", fault);
    if (p->in.len > 0)
        p->w->tally.cut_short++;
    leave_unanswered(p, false, p->sealed || (p->may_end && p->in.len == 0));
    p->state = PEER_LEFT;
    p->next_ns = now_ns + (p->serial * 7919 % 300) * DIRTY_NS_PER_MS;
    if (p->silent || p->sending >= p->count)
        close_now(p, now_ns);
}

/* -- The beginning
 * ------------------------------------------------------------------------- */

/* How it reads: most do at once. */
static void pick_reading(peer *p, uint64_t *rng) {
    uint32_t dice = random_below(rng, 100);
    p->read_max = UINT32_MAX;
    if (dice < 80 || p->w->choice.without & WITHOUT_LAG)
        return;
    p->lags = true;
    p->leave_ns = p->opened_ns + random_within(rng, 3000, 6000) * DIRTY_NS_PER_MS;
    if (dice < 90) {
        p->read_pause_us = random_below(rng, 20000);
    } else if (dice < 97) {
        p->read_max = random_within(rng, 16, 8192);
        p->read_pause_us = random_below(rng, 5000);
    } else {
        p->read_ns = UINT64_MAX; /* never */
        p->leave_ns = p->opened_ns + random_within(rng, 10, 1500) * DIRTY_NS_PER_MS;
    }
    if (dice % 3 == 0)
        p->read_ns = p->opened_ns + random_below(rng, 300) * DIRTY_NS_PER_MS;
}

static void pick_script(peer *p) {
    world *w = p->w;
    uint64_t rng =
        (w->seed * 0x9e3779b97f4a7c15ull) ^ (p->serial * 0xbf58476d1ce4e5b9ull) ^ 1;
    chaos_random(&rng);
    pick_reading(p, &rng);
    if (!(w->choice.without & WITHOUT_HANG_UP) && random_chance(&rng, 5) &&
        p->leave_ns == 0)
        p->leave_ns = p->opened_ns + random_within(&rng, 0, 100) * DIRTY_NS_PER_MS;
    p->half_close_last =
        !(w->choice.without & WITHOUT_HALF_CLOSE) && random_chance(&rng, 15);
    p->count = random_chance(&rng, 40) ? 1 : random_within(&rng, 1, ASKS_MAX);
    for (uint32_t i = 0; i < p->count; i++) {
        delivery_choice choice = w->choice;
        choice.first = i == 0;
        choice.last = i + 1 == p->count;
        ask_pick(&p->asks[i], &rng, p->serial * 100 + i + 1, &choice);
    }
    w->tally.asks += p->count;
}

static void start(peer *p, int fd, uint64_t now_ns) {
    world *w = p->w;
    dirty_buf in = p->in;
    in.len = 0;
    peer_init(p, w);
    p->in = in;
    p->fd = fd;
    p->state = PEER_OPEN;
    p->serial = ++w->serial;
    p->opened_ns = now_ns;
    w->tally.connections++;
    peer_note(p, "connected");
    pick_script(p);
}

/* Nobody listens before the runtime has been started, and while it stops; else its
 * supervisor holds the socket. */
static void not_connected(peer *p, int error, uint64_t now_ns) {
    p->w->tally.refused++;
    p->next_ns = now_ns + 5 * DIRTY_NS_PER_MS;
    bool early = p->w->early && p->w->serial == 0;
    if (error != EAGAIN && p->w->stopping_ns == 0 && !early)
        world_complain(p->w, "connect: %s", strerror(error));
}

static void open_connection(peer *p, uint64_t now_ns) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", p->w->socket);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
        start(p, fd, now_ns);
        return;
    }
    not_connected(p, errno, now_ns);
    if (fd >= 0)
        close(fd);
}

/* -- Time
 * -------------------------------------------------------------------------------- */

/* Whose patience with an answer is over. */
static const ask *first_impatient(const peer *p, uint64_t *at_ns) {
    const ask *first = NULL;
    *at_ns = UINT64_MAX;
    for (uint32_t i = p->head; i < p->count; i++) {
        const ask *a = &p->asks[i];
        if (a->first_ns == 0 || a->way.patience_us == 0)
            continue;
        uint64_t until_ns = a->first_ns + a->way.patience_us * 1000ull;
        if (until_ns < *at_ns) {
            *at_ns = until_ns;
            first = a;
        }
    }
    return first;
}

/* When the server must have done what it has to do, and what that is. */
static uint64_t pick_due_ns(const peer *p, const char **what) {
    const world *w = p->w;
    const ask *a = p->head < p->count ? &p->asks[p->head] : NULL;
    uint64_t due_ns = UINT64_MAX;
    if (p->sealed) {
        *what = "it was not ended after a frame that ends it";
        due_ns = p->answered_ns + world_margin_ns(w);
    } else if (a != NULL && a->first_ns != 0) {
        *what = "no answer, and no end";
        due_ns = peer_answer_due_ns(p, a);
    } else if (p->shut && a == NULL) {
        *what = "it was not ended after a half-close";
        due_ns = (p->answered_ns > p->shut_ns ? p->answered_ns : p->shut_ns) +
                 world_margin_ns(w);
    }
    if (p->lags && due_ns != UINT64_MAX)
        due_ns += p->read_ns == UINT64_MAX ? RESTART_NS : 1000 * DIRTY_NS_PER_MS;
    if (due_ns != UINT64_MAX && w->beheaded_ns != 0 &&
        due_ns < w->beheaded_ns + RESTART_NS)
        due_ns = w->beheaded_ns + RESTART_NS;
    return due_ns;
}

static void check_due(peer *p, uint64_t now_ns) {
    const char *what = "";
    if (now_ns <= pick_due_ns(p, &what))
        return;
    peer_complain(p, "%s", what);
    peer_hang_up(p, now_ns, "for it has waited too long");
}

/* All is answered: end it, one way or another. */
static void finish(peer *p, uint64_t now_ns) {
    if (p->shut || p->sealed || p->head < p->count)
        return;
    if (!p->half_close_last) {
        peer_note(p, "close");
        close_now(p, now_ns);
        return;
    }
    peer_note(p, "half-close, all is answered");
    shutdown(p->fd, SHUT_WR);
    p->w->tally.half_closes++;
    p->shut = p->silent = true;
    p->shut_ns = now_ns;
}

static void tick_open(peer *p, uint64_t now_ns) {
    uint64_t patience_ns;
    if (p->leave_ns != 0 && now_ns >= p->leave_ns)
        peer_hang_up(p, now_ns, "in the midst");
    else if (first_impatient(p, &patience_ns) != NULL && now_ns >= patience_ns)
        peer_hang_up(p, now_ns, "out of patience");
    if (p->state == PEER_OPEN)
        peer_send(p, now_ns);
    if (p->state == PEER_OPEN)
        check_due(p, now_ns);
    if (p->state == PEER_OPEN)
        finish(p, now_ns);
}

void peer_tick(peer *p, uint64_t now_ns) {
    switch (p->state) {
    case PEER_CLOSED:
        if (p->w->open && now_ns >= p->next_ns && p < p->w->peers + p->w->tide)
            open_connection(p, now_ns);
        break;
    case PEER_OPEN: tick_open(p, now_ns); break;
    case PEER_LEFT:
        peer_send(p, now_ns);
        if (p->state == PEER_LEFT && (p->silent || now_ns >= p->next_ns))
            close_now(p, now_ns);
        break;
    }
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint64_t peer_due_ns(const peer *p) {
    const char *what;
    uint64_t patience_ns;
    if (p->state == PEER_CLOSED)
        return p->w->open && p < p->w->peers + p->w->tide ? p->next_ns : UINT64_MAX;
    if (p->state == PEER_LEFT)
        return earlier(p->next_ns, peer_send_due_ns(p));
    first_impatient(p, &patience_ns);
    uint64_t due_ns = earlier(patience_ns, peer_send_due_ns(p));
    if (p->leave_ns != 0)
        due_ns = earlier(due_ns, p->leave_ns);
    if (p->lags)
        due_ns = earlier(due_ns, p->read_ns);
    return earlier(due_ns, pick_due_ns(p, &what));
}

bool peer_interest(const peer *p, uint64_t now_ns, struct pollfd *out) {
    *out = (struct pollfd){.fd = p->fd};
    if (p->state == PEER_OPEN && now_ns >= p->read_ns)
        out->events |= POLLIN;
    if (p->state != PEER_CLOSED && p->blocked)
        out->events |= POLLOUT;
    return out->events != 0;
}

void peer_ready(peer *p, short events, uint64_t now_ns) {
    if (p->state != PEER_CLOSED && p->blocked && events & (POLLOUT | POLLHUP | POLLERR)) {
        p->blocked = false;
        peer_send(p, now_ns);
    }
    if (p->state == PEER_OPEN && now_ns >= p->read_ns &&
        events & (POLLIN | POLLHUP | POLLERR))
        peer_read(p, now_ns);
}

uint32_t peer_waits(const peer *p) {
    return p->state == PEER_OPEN && p->head < p->count &&
           p->asks[p->head].first_ns != 0 && ask_is_routed(&p->asks[p->head]);
}
