#include "spec/random/judge.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json_peek.h"
#include "wire/request.h"

/* How long ago a worker may have died that makes a place fail. */
#define NO_WORKERS_NS (30000 * DIRTY_NS_PER_MS)
/* What a lane gives back waits again, though the queue may be full. */
#define LANES_MAX 64
/* The exit status of a worker that was asked to die (spec/apps/random.lua). */
#define OWN_EXIT "\"exit_status\":3,"

typedef struct fault_report {
    dirty_error e;
    char phase[16], started[16], fault[24];
    pid_t pid;
} fault_report;

static struct {
    char *text;
    size_t size;
} why; /* where the judgement under way says what is wrong */

static verdict_of_frame __attribute__((format(printf, 1, 2))) wrong(const char *format,
                                                                    ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why.text, why.size, format, args);
    va_end(args);
    return FRAME_WRONG;
}

/* -- Values
 * ------------------------------------------------------------------------------ */

static bool is_one_value(const uint8_t *payload, size_t len, uint8_t tag,
                         dirty_value *v) {
    dirty_value_reader r;
    return dirty_values_open(payload, len, 255, &r) == DIRTY_WIRE_OK && r.left == 1 &&
           dirty_value_next(&r, v) == DIRTY_WIRE_OK &&
           dirty_value_reader_end(&r) == DIRTY_WIRE_OK && v->tag == tag;
}

static bool is_text(const uint8_t *payload, size_t len, uint8_t tag, const char *text) {
    dirty_value v;
    return is_one_value(payload, len, tag, &v) &&
           dirty_slice_equals(v.bytes, text, strlen(text));
}

static bool is_number(const uint8_t *payload, size_t len, uint32_t n) {
    char text[16];
    snprintf(text, sizeof text, "%u", n);
    return is_text(payload, len, DIRTY_TAG_JSON, text);
}

static bool is_echo(const ask *a, const uint8_t *payload, size_t len) {
    size_t want = a->frame.len - a->args_at;
    return len == 2 + want && dirty_get16(payload) == a->argc &&
           memcmp(payload + 2, a->frame.base + a->args_at, want) == 0;
}

/* The length of the queue that a status tells of, -1: it is none. */
static long queue_of(const uint8_t *payload, size_t len) {
    dirty_value v;
    static const char mark[] = "\"queue\":{\"length\":";
    if (!is_one_value(payload, len, DIRTY_TAG_JSON, &v) || v.bytes.len < 2 ||
        v.bytes.base[0] != '{')
        return -1;
    const char *at = memmem(v.bytes.base, v.bytes.len, mark, sizeof mark - 1);
    long length = at != NULL ? 0 : -1;
    for (at = at ? at + sizeof mark - 1 : at; length >= 0 && *at >= '0' && *at <= '9';
         at++)
        length = length < 1l << 40 ? length * 10 + (*at - '0') : length;
    return length;
}

static bool is_right_value(const question *q, const uint8_t *payload, size_t len) {
    const ask *a = q->a;
    char text[ASK_TEXT_LEN];
    dirty_value v;
    switch (a->kind) {
    case ASK_NOOP: return is_text(payload, len, DIRTY_TAG_JSON, "null");
    case ASK_ECHO:
    case ASK_EDGE:
    case ASK_LARGE: return is_echo(a, payload, len);
    case ASK_SLEEP: return is_number(payload, len, a->number);
    case ASK_NOTE: ask_text(a, text); return is_text(payload, len, DIRTY_TAG_BYTES, text);
    case ASK_PING: return is_one_value(payload, len, DIRTY_TAG_JSON, &v);
    case ASK_STATUS: return queue_of(payload, len) >= 0;
    case ASK_METRICS: return is_one_value(payload, len, DIRTY_TAG_BYTES, &v);
    case ASK_COUNT:
    case ASK_FAIL:
    case ASK_SPIN:
    case ASK_DIE:
    case ASK_STUCK:
    case ASK_NO_APP:
    case ASK_NO_ACTION:
    case ASK_NO_SERVICE:
    case ASK_BAD:
    case ASK_KINDS: break;
    }
    return false;
}

static verdict_of_frame judge_value(question *q, const dirty_frame *frame,
                                    const uint8_t *payload) {
    ask *a = q->a;
    if (!ask_is_whole(a))
        return wrong("an answer to a request of which %zu of %zu bytes were sent",
                     a->sent, a->frame.len);
    if (ask_is_too_late(a))
        return wrong("an answer to a request that was sent after its deadline");
    if (frame->type == DIRTY_FRAME_CHUNK) {
        if (a->kind != ASK_COUNT || a->chunks >= a->number)
            return wrong("a chunk that must not be there");
        return is_number(payload, frame->payload_len, ++a->chunks)
                   ? FRAME_MORE
                   : wrong("not chunk %u of %u", a->chunks, a->number);
    }
    if (frame->type == DIRTY_FRAME_END)
        return a->kind == ASK_COUNT && a->chunks == a->number
                   ? FRAME_KEEPS
                   : wrong("the end of a stream after %u of %u chunks", a->chunks,
                           a->number);
    if (!is_right_value(q, payload, frame->payload_len))
        return wrong("a RESPONSE of %u bytes that is not its own", frame->payload_len);
    if (a->kind == ASK_STATUS &&
        queue_of(payload, frame->payload_len) > q->w->max_queue + LANES_MAX)
        return wrong("the status tells of a queue of %ld, max_queue is %u",
                     queue_of(payload, frame->payload_len), q->w->max_queue);
    return FRAME_KEEPS;
}

/* -- Errors
 * ------------------------------------------------------------------------------ */

static void copy_member(dirty_slice details, const char *key, char *out, size_t size) {
    dirty_json_unescape(dirty_json_peek_string(details, key), out, size);
}

static bool has(dirty_slice text, const char *needle) {
    return memmem(text.base, text.len, needle, strlen(needle)) != NULL;
}

static pid_t peek_pid(dirty_slice details) {
    char digits[16];
    const char *at = memmem(details.base, details.len, "\"pid\":", 6);
    if (at == NULL)
        return 0;
    at += 6;
    snprintf(digits, sizeof digits, "%.*s", (int)(details.base + details.len - at), at);
    return (pid_t)strtol(digits, NULL, 10);
}

static bool read_error(const uint8_t *payload, size_t len, fault_report *r) {
    if (dirty_error_decode(payload, len, &r->e) != DIRTY_WIRE_OK || r->e.message.len == 0)
        return false;
    copy_member(r->e.details, "phase", r->phase, sizeof r->phase);
    copy_member(r->e.details, "started", r->started, sizeof r->started);
    copy_member(r->e.details, "fault", r->fault, sizeof r->fault);
    r->pid = peek_pid(r->e.details);
    return r->started[0] != '\0';
}

/* Why a TIMEOUT can't be right whatever the time is. NULL: it can. */
static const char *fault_of_timeout(const ask *a, const fault_report *r) {
    bool runs = strcmp(r->phase, "run") == 0;
    if (!runs && strcmp(r->phase, "queue") != 0 && strcmp(r->phase, "receive") != 0)
        return "it has no such phase";
    if (strcmp(r->started, runs ? "yes" : "no") != 0)
        return "that is not what was started";
    if (runs && !ask_is_routed(a))
        return "no app has it";
    if (runs && !ask_is_whole(a))
        return "it was not sent whole";
    if (runs && ask_is_too_late(a))
        return "it was sent after its deadline";
    return NULL;
}

/* The clock of the server can't have begun before the first byte was sent. */
static verdict_of_frame judge_timeout(question *q, const fault_report *r) {
    const ask *a = q->a;
    const char *fault = fault_of_timeout(a, r);
    if (fault != NULL)
        return wrong("TIMEOUT of phase \"%s\", started \"%s\": %s", r->phase, r->started,
                     fault);
    bool receiving = strcmp(r->phase, "receive") == 0;
    uint64_t over_ns = ask_over_ns(a, a->first_ns, q->w->app_timeout_ms);
    uint64_t recv_ns = q->w->choice.recv_timeout_ms * DIRTY_NS_PER_MS;
    if (receiving && a->first_ns + recv_ns < over_ns)
        over_ns = a->first_ns + recv_ns;
    if (q->now_ns < over_ns)
        return wrong("TIMEOUT of phase %s %.3f ms before its time is over", r->phase,
                     (double)(over_ns - q->now_ns) / 1e6);
    return receiving || !ask_is_whole(a) ? FRAME_ENDS : FRAME_KEEPS;
}

static verdict_of_frame judge_protocol(question *q, const fault_report *r) {
    const ask *a = q->a;
    const char *want = dirty_wire_fault_name(a->fault);
    if (strcmp(r->started, "no") != 0)
        return wrong("PROTOCOL, and started is \"%s\"", r->started);
    if (a->kind == ASK_BAD && strcmp(r->fault, want) == 0)
        return FRAME_ENDS;
    if (q->shut && !ask_is_whole(a) && strcmp(r->fault, "TRUNCATED") == 0)
        return FRAME_ENDS;
    return wrong("PROTOCOL, fault \"%s\": %.*s", r->fault, (int)r->e.message.len,
                 r->e.message.base);
}

static verdict_of_frame judge_lost(question *q, const fault_report *r) {
    bool asked = has(r->e.details, OWN_EXIT) || has(r->e.details, "\"signal\":9,");
    if (monkey_has_killed(&q->w->ape, r->pid) ||
        has(r->e.details, "\"killed_by_runtime\":true") ||
        (asked && q->a->first_ns < q->w->danger_ns))
        return ask_is_whole(q->a) || strcmp(r->started, "no") == 0
                   ? FRAME_KEEPS
                   : wrong("WORKER_LOST with started \"%s\", and it was not sent whole",
                           r->started);
    return wrong("WORKER_LOST, and nobody killed worker %d: %.*s", (int)r->pid,
                 (int)r->e.details.len, r->e.details.base);
}

/* Too many wait for a lane, or there are too many bytes of long requests that have
 * paused. */
static verdict_of_frame judge_overloaded(question *q, const fault_report *r) {
    const world *w = q->w;
    if (strcmp(r->phase, "receive") == 0 && q->a->frame.len > ASK_HEAD_MAX)
        return FRAME_ENDS;
    uint32_t waiting = world_most_waiting(w, q->now_ns);
    return waiting >= w->max_queue
               ? FRAME_KEEPS
               : wrong(
                     "OVERLOADED, and %u requests are under way at most, max_queue is %u",
                     waiting, w->max_queue);
}

/* Errors that only some asks may get. */
static verdict_of_frame judge_own(const ask *a, const fault_report *r) {
    char text[ASK_TEXT_LEN];
    dirty_slice m = r->e.message;
    if (r->e.code == DIRTY_CODE_APP && a->kind == ASK_FAIL && ask_is_whole(a)) {
        ask_text(a, text);
        size_t len = ASK_TEXT_LEN - 1;
        if (m.len >= len && memcmp(m.base + m.len - len, text, len) == 0)
            return FRAME_KEEPS;
    }
    bool app = a->kind == ASK_NO_APP || a->kind == ASK_NO_SERVICE;
    bool action =
        (a->kind == ASK_NO_ACTION && ask_is_whole(a)) || a->kind == ASK_NO_SERVICE;
    if ((r->e.code == DIRTY_CODE_APP_NOT_FOUND && app) ||
        (r->e.code == DIRTY_CODE_ACTION_NOT_FOUND && action))
        return FRAME_KEEPS;
    return wrong("%s, which is not its own: %.*s", dirty_code_name(r->e.code), (int)m.len,
                 m.base);
}

static verdict_of_frame judge_code(question *q, const fault_report *r) {
    world *w = q->w;
    bool routed = ask_is_routed(q->a);
    switch (q->code) {
    case DIRTY_CODE_TIMEOUT: return judge_timeout(q, r);
    case DIRTY_CODE_PROTOCOL: return judge_protocol(q, r);
    case DIRTY_CODE_WORKER_LOST: return routed ? judge_lost(q, r) : judge_own(q->a, r);
    case DIRTY_CODE_OVERLOADED:
        return routed ? judge_overloaded(q, r) : judge_own(q->a, r);
    case DIRTY_CODE_SHUTDOWN:
        return w->stopping_ns != 0 ? FRAME_KEEPS
                                   : wrong("SHUTDOWN, and nobody said stop");
    case DIRTY_CODE_NO_WORKERS:
        return routed && world_lost_worker(w, q->now_ns - NO_WORKERS_NS)
                   ? FRAME_KEEPS
                   : wrong("NO_WORKERS, and no worker has died of late");
    default: return judge_own(q->a, r);
    }
}

/* Errors that say that no app has run. */
static bool must_be_unstarted(dirty_code code) {
    return code == DIRTY_CODE_APP_NOT_FOUND || code == DIRTY_CODE_ACTION_NOT_FOUND ||
           code == DIRTY_CODE_NO_WORKERS || code == DIRTY_CODE_OVERLOADED ||
           code == DIRTY_CODE_PROTOCOL;
}

static verdict_of_frame judge_error(question *q, const uint8_t *payload, size_t len) {
    static fault_report r;
    r = (fault_report){0};
    if (!read_error(payload, len, &r))
        return wrong("an ERROR that can't be read, or does not say whether it started");
    q->code = (dirty_code)r.e.code;
    q->started = r.started;
    if (must_be_unstarted(q->code) && strcmp(r.started, "no") != 0)
        return wrong("%s, and started is \"%s\"", dirty_code_name(q->code), r.started);
    verdict_of_frame v = judge_code(q, &r);
    if (v != FRAME_KEEPS)
        return v;
    if (!ask_is_whole(q->a))
        return FRAME_ENDS;
    return q->a->frame.len <= ASK_HEAD_MAX ? FRAME_KEEPS : FRAME_MAY_END;
}

/* -- The frame
 * --------------------------------------------------------------------------- */

/* An answer's id is the request's, but 0 where the server can't have known that. Where
 * the header came in pieces, a TIMEOUT may be said by one that had no time to read the
 * last. */
static bool is_right_id(const question *q, const dirty_frame *frame,
                        const uint8_t *payload) {
    const ask *a = q->a;
    if (a->header_ns == 0 || (a->kind == ASK_BAD && a->no_id))
        return frame->id == 0;
    bool in_pieces = a->header_ns - a->first_ns > DIRTY_NS_PER_MS;
    bool timeout = frame->type == DIRTY_FRAME_ERROR && frame->payload_len > 2 &&
                   dirty_get16(payload) == DIRTY_CODE_TIMEOUT;
    return frame->id == a->id || (frame->id == 0 && timeout && in_pieces);
}

verdict_of_frame judge(question *q, const dirty_frame *frame, const uint8_t *payload,
                       char *text, size_t size) {
    why.text = text;
    why.size = size;
    q->code = DIRTY_CODE_NONE;
    q->started = "yes";
    if (q->a == NULL || q->a->first_ns == 0)
        return wrong("a frame, and nothing was asked: type %u, id %" PRIu64 ", %u bytes",
                     frame->type, frame->id, frame->payload_len);
    if (!is_right_id(q, frame, payload))
        return wrong("id %" PRIu64 " (type %u), the request's is %" PRIu64
                     " and %zu bytes of it were sent",
                     frame->id, frame->type, q->a->id, q->a->sent);
    if (frame->type == DIRTY_FRAME_ERROR)
        return judge_error(q, payload, frame->payload_len);
    return judge_value(q, frame, payload);
}
