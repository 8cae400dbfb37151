#include "spec/random/peer_read.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "spec/random/judge.h"

#define READ_MAX (256u << 10)
/* What is read of one connection before the next has its turn. */
#define TURN_MAX (1u << 20)

/* -- When
 * -------------------------------------------------------------------------------- */

/* When the server had all of it, and nothing before it, at the latest. */
static uint64_t ready_ns(const peer *p, const ask *a) {
    uint64_t since_ns = peer_since_ns(p, a);
    return a->whole_ns > since_ns ? a->whole_ns : since_ns;
}

/* From the latest moment at which the server can have begun with it and has all of it:
 * what the call's time leaves, what it waits for bytes, and the grace of one that does
 * not end. */
uint64_t peer_answer_due_ns(const peer *p, const ask *a) {
    const world *w = p->w;
    uint64_t since_ns = ready_ns(p, a), due_ns = since_ns;
    uint64_t ms = w->grace_ms;
    if (ask_is_routed(a) && a->sent >= DIRTY_FRAME_HEADER_LEN)
        due_ns = ask_over_ns(a, since_ns, w->app_timeout_ms);
    if (due_ns < since_ns)
        due_ns = since_ns;
    if (!ask_is_whole(a) || a->frame.len > ASK_HEAD_MAX)
        ms += w->choice.recv_timeout_ms;
    if (p->lags)
        ms += 2 * w->send_timeout_ms;
    if (p->lags && p->last_read_ns > due_ns)
        due_ns = p->last_read_ns;
    return due_ns + ms * DIRTY_NS_PER_MS + world_margin_ns(w);
}

/* How long after the end of its time it came. */
static void note_lateness(peer *p, const ask *a, uint64_t now_ns) {
    uint64_t since_ns = ready_ns(p, a);
    if (p->lags || !ask_is_whole(a) || !ask_is_routed(a) || a->frame.len > ASK_HEAD_MAX)
        return;
    uint64_t over_ns = ask_over_ns(a, since_ns, p->w->app_timeout_ms);
    if (over_ns < since_ns)
        over_ns = since_ns;
    double late_ms = ((double)now_ns - (double)over_ns) / 1e6;
    if (late_ms > p->w->tally.worst_late_ms)
        p->w->tally.worst_late_ms = late_ms;
}

/* -- One answer
 * -------------------------------------------------------------------------- */

static void count(world *w, const ask *a, const question *q) {
    if (q->code == DIRTY_CODE_NONE)
        w->tally.values[a->kind]++;
    else
        w->tally.errors[q->code]++;
    if (q->code == DIRTY_CODE_PROTOCOL && a->kind != ASK_BAD)
        w->tally.truncated++;
}

static const char *fate_of(const question *q) {
    if (q->code == DIRTY_CODE_NONE)
        return "once";
    return strcmp(q->started, "no") == 0 ? "no" : "maybe";
}

static void answered(peer *p, const question *q, verdict_of_frame v) {
    count(p->w, q->a, q);
    note_lateness(p, q->a, q->now_ns);
    world_fate(p->w, q->a, fate_of(q));
    p->w->served_ns = p->answered_ns = q->now_ns;
    p->may_end = v == FRAME_MAY_END;
    p->sealed = v == FRAME_ENDS;
    p->head++;
}

static void note_frame(peer *p, const dirty_frame *frame, const uint8_t *payload,
                       const question *q) {
    static const char *const names[] = {"?",     "REQUEST", "RESPONSE",
                                        "ERROR", "CHUNK",   "END"};
    dirty_error e = {0};
    if (frame->type == DIRTY_FRAME_CHUNK && q->a != NULL && q->a->chunks > 1)
        return;
    if (frame->type == DIRTY_FRAME_ERROR)
        dirty_error_decode(payload, frame->payload_len, &e);
    peer_note(p, "< %s id %llu, %u bytes%s%s %.*s",
              frame->type <= DIRTY_FRAME_END ? names[frame->type] : names[0],
              (unsigned long long)frame->id, frame->payload_len, e.code ? ": " : "",
              e.code ? dirty_code_name(e.code) : "",
              e.message.len < 48 ? (int)e.message.len : 48, e.message.base);
}

/* False: it was wrong, and the connection has been given up. */
static bool take(peer *p, const dirty_frame *frame, const uint8_t *payload) {
    uint64_t now_ns = dirty_now_ns(); /* it was read before, and sent before that */
    char why[400];
    question q = {.w = p->w, .a = peer_head(p), .now_ns = now_ns, .shut = p->shut};
    bool sealed = p->sealed;
    verdict_of_frame v =
        sealed ? FRAME_WRONG : judge(&q, frame, payload, why, sizeof why);
    note_frame(p, frame, payload, &q);
    if (v == FRAME_WRONG) {
        peer_complain(p, "%s",
                      sealed ? "a frame behind one that ends the connection" : why);
        peer_hang_up(p, now_ns, "for what came");
        return false;
    }
    if (v != FRAME_MORE)
        answered(p, &q, v);
    return true;
}

/* -- Bytes
 * ------------------------------------------------------------------------------- */

/* Look at the frames that are here. False: the connection has been given up. */
static bool parse(peer *p, uint64_t now_ns) {
    dirty_frame frame = {0};
    size_t at = 0;
    bool goes_on = true;
    while (goes_on && p->in.len > at) {
        const uint8_t *bytes = p->in.base + at;
        size_t have = p->in.len - at;
        dirty_wire_fault fault =
            dirty_frame_decode(bytes, have, DIRTY_MAX_MESSAGE_DEFAULT, &frame);
        if (fault < DIRTY_WIRE_OK) {
            peer_complain(p, "bytes that are no frame: %s", dirty_wire_fault_name(fault));
            peer_hang_up(p, now_ns, "for what came");
            return false;
        }
        if (fault == DIRTY_WIRE_MORE || have - DIRTY_FRAME_HEADER_LEN < frame.payload_len)
            break;
        at += DIRTY_FRAME_HEADER_LEN + frame.payload_len;
        goes_on = take(p, &frame, bytes + DIRTY_FRAME_HEADER_LEN);
    }
    if (goes_on)
        dirty_buf_consume(&p->in, at);
    return goes_on;
}

void peer_read(peer *p, uint64_t now_ns) {
    static uint8_t bytes[READ_MAX];
    size_t turn = 0;
    while (turn < TURN_MAX) {
        size_t room = p->read_max < READ_MAX ? p->read_max : READ_MAX;
        ssize_t n = recv(p->fd, bytes, room, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            p->w->tally.resets += n < 0;
            peer_ended(p, now_ns, n == 0 ? "end of file" : strerror(errno));
            return;
        }
        turn += (size_t)n;
        p->last_read_ns = now_ns;
        dirty_buf_append(&p->in, bytes, (size_t)n);
        if (!parse(p, now_ns))
            return;
        if (p->lags) {
            p->read_ns = now_ns + p->read_pause_us * 1000ull;
            return;
        }
    }
}
