#include "spec/chaos/caller.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/channel.h"
#include "base/clock.h"

/* A call that has no answer so long after it should have one hangs. */
#define HUNG_MS 5000
/* A kill may explain what happens so long after it. */
#define EXPLAINS_MS 1000
#define READ_BYTES (256u * 1024)
#define MAX_MESSAGE (64u << 20)
#define RETRY_MS 5

static void send_some(caller *c);

/* -- Connection ---------------------------------------------------------------------- */

static void disconnect(caller *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->watching = false;
    c->in.len = 0;
}

static void watch(caller *c, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    int op = c->watching ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(c->field->epoll_fd, op, c->fd, &e) < 0)
        abort();
    c->watching = true;
}

/* 0 or -errno. */
static int connect_it(caller *c) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", c->field->socket);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd >= 0 && connect(c->fd, (struct sockaddr *)&address, sizeof address) == 0)
        return 0;
    int rc = -errno;
    disconnect(c);
    return rc;
}

/* -- The end of a call --------------------------------------------------------------- */

/* Was somebody killed while this call was under way, or just before? */
static bool is_explained(const caller *c) {
    uint64_t shot_ns = c->field->monkey->last_shot_ns;
    return shot_ns != 0 && shot_ns + EXPLAINS_MS * DIRTY_NS_PER_MS > c->began_ns;
}

static double elapsed_ms(const caller *c) {
    return (double)(dirty_now_ns() - c->began_ns) / 1e6;
}

static void rest(caller *c) {
    c->state = CALLER_RESTING;
    c->wake_ns = dirty_now_ns();
    if (c->fd >= 0)
        watch(c, EPOLLIN);
}

static void note_lateness(caller *c) {
    tally *t = &c->field->tally;
    double late_ms = elapsed_ms(c) - c->call.budget_ms;
    if (c->halted || late_ms <= 0)
        return;
    if (late_ms > t->worst_late_ms)
        t->worst_late_ms = late_ms;
    if (late_ms > c->field->grace_ms + c->field->margin_ms) {
        char why[80];
        snprintf(why, sizeof why, "answered %.1f ms after its deadline", late_ms);
        t->late++;
        tally_complain(t, &c->call, "late", why);
    }
}

static void finish(caller *c, outcome what, const call_error *error) {
    note_lateness(c);
    tally_count(&c->field->tally, &c->call, what, error);
    rest(c);
}

/* The call ends in a way that it must not. `count` is the counter of the tally. */
static void fail(caller *c, uint64_t *count, const char *what, const char *why) {
    char text[200];
    snprintf(text, sizeof text, "%s (after %.1f ms, %zu of %zu bytes sent)", why,
             elapsed_ms(c), c->sent, c->out.len);
    ++*count;
    tally_complain(&c->field->tally, &c->call, what, text);
    disconnect(c);
    tally_count(&c->field->tally, &c->call, OUTCOME_FAULTY, NULL);
    rest(c);
}

static void wrong(caller *c, const char *why) {
    fail(c, &c->field->tally.wrong, "wrong", why);
}

static void on_end(caller *c) {
    if (!is_explained(c)) {
        fail(c, &c->field->tally.lost, "lost", "the connection ended, nobody was killed");
        return;
    }
    disconnect(c);
    finish(c, OUTCOME_ENDED, NULL);
}

/* -- Judging errors ------------------------------------------------------------------ */

/* The outcome, or OUTCOME_FAULTY for an error that this call must not get. */
static outcome judge_timeout(const caller *c, const call_error *e) {
    bool early = elapsed_ms(c) + 2 < c->call.budget_ms;
    if (early || (c->call.kind != CALL_SPIN && !is_explained(c)))
        return OUTCOME_FAULTY;
    if (strcmp(e->phase, "queue") == 0)
        return e->started[0] == 'n' ? OUTCOME_TIMEOUT_QUEUE : OUTCOME_FAULTY;
    return strcmp(e->phase, "run") == 0 ? OUTCOME_TIMEOUT_RUN : OUTCOME_FAULTY;
}

static outcome judge_lost(const caller *c, const call_error *e) {
    if (!e->ours && !monkey_has_killed(c->field->monkey, e->worker))
        return OUTCOME_FAULTY;
    return e->started[0] == 'n' ? OUTCOME_LOST_UNSTARTED : OUTCOME_LOST_RUNNING;
}

static outcome judge(const caller *c, const call_error *e) {
    switch ((int)e->code) {
    case DIRTY_CODE_APP:
        return c->call.kind == CALL_FAIL && e->own_words ? OUTCOME_APP : OUTCOME_FAULTY;
    case DIRTY_CODE_TIMEOUT: return judge_timeout(c, e);
    case DIRTY_CODE_WORKER_LOST: return judge_lost(c, e);
    case DIRTY_CODE_NO_WORKERS:
        return is_explained(c) ? OUTCOME_NO_WORKERS : OUTCOME_FAULTY;
    default: return OUTCOME_FAULTY;
    }
}

static void on_error(caller *c, const call_error *e) {
    char why[120];
    outcome what = judge(c, e);
    if (what == OUTCOME_FAULTY) {
        snprintf(why, sizeof why, "%s phase=%s started=%s pid=%d%s",
                 dirty_code_name(e->code), e->phase, e->started, (int)e->worker,
                 e->ours ? " killed by the runtime" : "");
        wrong(c, why);
        return;
    }
    if (c->out.len > DIRTY_HEAD_BYTES_MAX)
        disconnect(c); /* it may not have been received whole: the server ends it */
    finish(c, what, e);
}

/* -- Receiving ----------------------------------------------------------------------- */

/* Take one frame out of `in`. False: there is none, or the call has ended. */
static bool take_frame(caller *c) {
    dirty_frame f;
    call_error e;
    const char *why;
    dirty_wire_fault fault = dirty_frame_decode(c->in.base, c->in.len, MAX_MESSAGE, &f);
    if (fault < 0) {
        wrong(c, dirty_wire_fault_text(fault));
        return false;
    }
    size_t whole = DIRTY_FRAME_HEADER_LEN + f.payload_len;
    if (fault == DIRTY_WIRE_MORE || c->in.len < whole)
        return false;
    verdict v = call_judge(&c->call, &f, c->in.base + DIRTY_FRAME_HEADER_LEN, &e, &why);
    dirty_buf_consume(&c->in, whole);
    if (v == VERDICT_WRONG)
        wrong(c, why);
    else if (v != VERDICT_MORE && c->in.len > 0)
        wrong(c, "bytes behind its answer");
    else if (v == VERDICT_VALUE)
        finish(c, OUTCOME_VALUE, NULL);
    else if (v == VERDICT_ERROR)
        on_error(c, &e);
    return c->state != CALLER_RESTING;
}

/* Bytes received: > 0, 0 at the end of the connection, -EAGAIN. */
static ssize_t receive(caller *c) {
    ssize_t n;
    if (dirty_buf_reserve(&c->in, READ_BYTES) < 0)
        abort();
    do
        n = recv(c->fd, c->in.base + c->in.len, READ_BYTES, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        c->in.len += (size_t)n;
    return n >= 0 ? n : errno == EAGAIN ? -EAGAIN : 0;
}

static void read_answer(caller *c) {
    ssize_t n = receive(c);
    if (n == -EAGAIN)
        return;
    while (n > 0 && c->state != CALLER_RESTING && c->in.len > 0 && take_frame(c))
        continue;
    if (n == 0)
        on_end(c);
}

/* Between calls: the server may end the connection, if somebody was killed. */
static void read_idle(caller *c) {
    ssize_t n = receive(c);
    if (n == -EAGAIN)
        return;
    c->out.len = c->sent = 0;
    if (n > 0)
        wrong(c, "bytes that nobody asked for");
    else if (!is_explained(c))
        fail(c, &c->field->tally.lost, "lost", "an idle connection was ended");
    else
        disconnect(c);
}

/* -- Sending ------------------------------------------------------------------------- */

static void pause_it(caller *c, uint32_t most_ms) {
    uint64_t ms = (chaos_random(&c->field->seed) >> 32) % (most_ms + 1);
    c->wake_ns = dirty_now_ns() + ms * DIRTY_NS_PER_MS;
    c->halted = true;
    watch(c, 0);
}

static void wait_for_answer(caller *c) {
    c->state = CALLER_WAITING;
    if (c->call.kind == CALL_LEAVE)
        pause_it(c, 3);
    else if (c->halt_reading)
        pause_it(c, 80);
    else
        watch(c, EPOLLIN);
}

/* The send failed. Nothing of it was taken: it is sent again, once. Else an answer may be
 * there already. */
static void on_send_failed(caller *c) {
    if (c->sent > 0 || c->resent) {
        c->halt_reading = false;
        wait_for_answer(c);
        return;
    }
    disconnect(c);
    c->resent = true;
    c->field->tally.resent++;
    send_some(c);
}

static void send_some(caller *c) {
    int rc = c->fd < 0 ? connect_it(c) : 0;
    if (rc == -EAGAIN) {
        c->wake_ns = dirty_now_ns() + RETRY_MS * DIRTY_NS_PER_MS;
        return;
    }
    if (rc < 0) {
        wrong(c, strerror(-rc));
        return;
    }
    while (c->sent < c->out.len) {
        size_t until = c->halt_at > c->sent ? c->halt_at : c->out.len;
        ssize_t n = send(c->fd, c->out.base + c->sent, until - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            watch(c, EPOLLOUT | EPOLLIN);
            return;
        }
        if (n < 0) {
            on_send_failed(c);
            return;
        }
        c->sent += (size_t)n;
        if (c->sent == c->halt_at) {
            c->halt_at = 0;
            pause_it(c, 80);
            return;
        }
    }
    wait_for_answer(c);
}

static void begin(caller *c) {
    field *f = c->field;
    call_pick(&c->call, &f->seed, f->weights);
    call_encode(&c->call, &c->out);
    bool halts = c->call.kind == CALL_LARGE;
    c->halt_at = halts && chaos_random(&f->seed) >> 62 == 0 ? c->out.len / 2 : 0;
    c->halt_reading = halts && chaos_random(&f->seed) >> 62 == 0;
    c->halted = c->resent = false;
    c->sent = 0;
    c->wake_ns = 0;
    c->began_ns = dirty_now_ns();
    c->state = CALLER_SENDING;
    send_some(c);
}

/* -- Events -------------------------------------------------------------------------- */

void caller_ready(caller *c, uint32_t events) {
    if (c->fd < 0)
        return; /* it has ended since the event was fetched */
    switch (c->state) {
    case CALLER_RESTING: read_idle(c); break;
    case CALLER_SENDING:
        if (events & EPOLLIN)
            wait_for_answer(c); /* an error: the rest is not wanted any more */
        else
            send_some(c);
        break;
    case CALLER_WAITING: read_answer(c); break;
    }
}

static void end_pause(caller *c) {
    c->wake_ns = 0;
    if (c->state == CALLER_SENDING) {
        send_some(c);
    } else if (c->call.kind == CALL_LEAVE) {
        disconnect(c);
        finish(c, OUTCOME_LEFT, NULL);
    } else {
        watch(c, EPOLLIN);
    }
}

static uint64_t hung_ns(const caller *c) {
    const field *f = c->field;
    uint64_t ms = (uint64_t)c->call.budget_ms + f->grace_ms + f->margin_ms + HUNG_MS;
    return c->began_ns + ms * DIRTY_NS_PER_MS;
}

void caller_tick(caller *c, uint64_t now_ns) {
    if (c->state == CALLER_RESTING) {
        if (c->field->open && now_ns >= c->wake_ns)
            begin(c);
    } else if (now_ns >= hung_ns(c)) {
        fail(c, &c->field->tally.hung, "hung", "no answer");
    } else if (c->wake_ns != 0 && now_ns >= c->wake_ns) {
        end_pause(c);
    }
}

uint64_t caller_due_ns(const caller *c) {
    if (c->state == CALLER_RESTING)
        return c->field->open ? c->wake_ns : 0;
    return c->wake_ns != 0 ? c->wake_ns : hung_ns(c);
}

void caller_init(caller *c, field *f) {
    *c = (caller){.field = f, .fd = -1};
    c->wake_ns = dirty_now_ns();
}

void caller_deinit(caller *c) {
    disconnect(c);
    dirty_buf_deinit(&c->in);
    dirty_buf_deinit(&c->out);
}
