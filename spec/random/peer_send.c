#include "spec/random/peer_send.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "spec/random/extend.h"

/* -- What is next
 * ------------------------------------------------------------------------ */

/* Where this piece of the request ends. */
static size_t piece_end(const peer *p, const ask *a) {
    const delivery *d = &a->way;
    if (p->cut < d->cuts && d->cut_at[p->cut] < d->stop_at)
        return d->cut_at[p->cut];
    return d->stop_at;
}

/* Whether the next request goes out with the last bytes of this one. */
static bool is_joined(const peer *p, uint32_t i) {
    const delivery *d = &p->asks[i].way;
    return d->then == END_NONE && i + 1 < p->count && !p->asks[i + 1].way.awaits &&
           p->asks[i + 1].way.wait_us == 0;
}

static int gather(const peer *p, struct iovec *iov) {
    int count = 0;
    for (uint32_t i = p->sending; i < p->count; i++) {
        const ask *a = &p->asks[i];
        size_t end = a->way.cuts > 0 ? a->way.cut_at[0] : a->way.stop_at;
        if (i == p->sending)
            end = piece_end(p, a);
        if (end > a->way.stop_at)
            end = a->way.stop_at;
        iov[count++] = (struct iovec){a->frame.base + a->sent, end - a->sent};
        if (end < a->frame.len || !is_joined(p, i))
            break;
    }
    return count;
}

/* -- Steps of the script
 * ----------------------------------------------------------------- */

static void expect_loss(peer *p, const ask *a) {
    world *w = p->w;
    if (a->kind == ASK_DIE || a->kind == ASK_STUCK)
        world_expect_loss(w, a->first_ns +
                                 (w->app_timeout_ms + w->grace_ms) * DIRTY_NS_PER_MS +
                                 world_margin_ns(w));
}

static void half_close(peer *p, uint64_t now_ns) {
    peer_note(p, "half-close");
    shutdown(p->fd, SHUT_WR);
    p->shut = p->silent = true;
    p->shut_ns = now_ns;
    p->w->tally.half_closes++;
}

/* All of this delivery is out. */
static void end_delivery(peer *p, const ask *a, uint64_t now_ns) {
    switch (a->way.then) {
    case END_HALF_CLOSE: half_close(p, now_ns); break;
    case END_HANG_UP: peer_hang_up(p, now_ns, "as it was to"); return;
    case END_STALL:
        peer_note(p, "no byte more: %zu of %zu are sent", a->sent, a->frame.len);
        p->w->tally.stalls++;
        p->silent = true;
        break;
    case END_NONE: break;
    }
    p->sending++;
    p->cut = 0;
    p->waited = false;
    p->send_ns = 0;
}

/* Bytes of the request in hand are out, and its piece with them. */
static void end_piece(peer *p, ask *a, uint64_t now_ns) {
    if (a->sent == a->way.stop_at) {
        end_delivery(p, a, now_ns);
        return;
    }
    uint32_t pause_us = a->way.pause_us[p->cut];
    peer_note(p, "sent %zu of %zu, pause of %u us", a->sent, a->frame.len, pause_us);
    p->send_ns = now_ns + pause_us * 1000ull;
    while (p->cut < a->way.cuts && a->way.cut_at[p->cut] <= a->sent)
        p->cut++;
}

static void note_sent(peer *p, ask *a, size_t n, uint64_t before_ns) {
    if (a->first_ns == 0)
        a->first_ns = before_ns;
    a->sent += n;
    if (a->sent >= 16 && a->header_ns == 0)
        a->header_ns = dirty_now_ns();
    if (ask_is_whole(a)) {
        a->last_ns = before_ns;
        a->whole_ns = dirty_now_ns();
        peer_note(p, "sent id %llu whole", (unsigned long long)a->id);
        expect_loss(p, a);
    }
}

/* `n` bytes went out, which began to go at before_ns. True: all that was to go. */
static bool took(peer *p, size_t n, uint64_t before_ns) {
    uint32_t first = p->sending;
    uint64_t now_ns = dirty_now_ns();
    while (p->state != PEER_CLOSED && p->sending < p->count) {
        ask *a = &p->asks[p->sending];
        size_t end = piece_end(p, a), left = end - a->sent;
        size_t part = n < left ? n : left;
        if (part == 0 && p->sending != first)
            return true;
        note_sent(p, a, part, before_ns);
        n -= part;
        if (a->sent < end)
            return false;
        end_piece(p, a, now_ns);
        if (n == 0)
            return true;
    }
    return true;
}

static void give_up(peer *p, int error) {
    peer_note(p, "send: %s", strerror(error));
    p->silent = true;
}

/* -- The whole
 * --------------------------------------------------------------------------- */

/* Whether the next request may begin, and its pause before is over. */
static bool may_begin(peer *p, const ask *a, uint64_t now_ns) {
    if (a->way.awaits && p->head < p->sending)
        return false;
    if (!p->waited) {
        char text[HISTORY_TEXT];
        ask_describe(a, text, sizeof text);
        peer_note(p, "> %s", text);
        p->waited = true;
        p->send_ns = now_ns + a->way.wait_us * 1000ull;
    }
    return now_ns >= p->send_ns;
}

static bool is_due(peer *p, uint64_t now_ns) {
    if (p->silent || p->blocked || p->sending >= p->count || now_ns < p->send_ns)
        return false;
    const ask *a = &p->asks[p->sending];
    if (a->first_ns != 0)
        return true;
    if (p->sealed && a->way.awaits)
        p->silent = true;
    return !p->silent && may_begin(p, a, now_ns);
}

/* Those whose first byte may go out now: their deadlines count from there. */
static void set_deadlines(peer *p, uint64_t now_ns) {
    for (uint32_t i = p->sending; i < p->count; i++)
        if (p->asks[i].first_ns == 0)
            extend_set_deadline(&p->asks[i], now_ns);
}

void peer_send(peer *p, uint64_t now_ns) {
    while (p->state != PEER_CLOSED && is_due(p, now_ns)) {
        struct iovec iov[ASKS_MAX];
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)gather(p, iov)};
        uint64_t before_ns = dirty_now_ns();
        set_deadlines(p, before_ns);
        ssize_t n = sendmsg(p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            p->blocked = true;
        else if (n < 0)
            give_up(p, errno);
        else if (!took(p, (size_t)n, before_ns))
            p->blocked = true;
    }
}

uint64_t peer_send_due_ns(const peer *p) {
    if (p->silent || p->blocked || p->sending >= p->count)
        return UINT64_MAX;
    const ask *a = &p->asks[p->sending];
    if (a->first_ns == 0 && a->way.awaits && p->head < p->sending)
        return UINT64_MAX;
    return p->send_ns;
}
