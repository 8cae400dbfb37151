/* exchange_read: the receiving half of an exchange. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/alloc.h"
#include "client/exchange.h"

/* A server reads a request up to this size, header included, before it does anything with
 * it. After an early answer (OVERLOADED, for instance) to a longer one, some of it may
 * stay unread. Then the server closes the connection. */
#define SURELY_READ_LEN 4096

static dirty_failure *failure_of(dirty_exchange *x) {
    return &x->client->failure;
}

static int fail_memory(dirty_exchange *x, size_t len) {
    dirty_conn_close(&x->client->conn);
    return dirty_failure_set(failure_of(x), DIRTY_EMEMORY, x->started,
                             "out of memory in the client for an answer of %zu bytes",
                             len);
}

static int fail_protocol(dirty_exchange *x, const char *why) {
    dirty_conn_close(&x->client->conn);
    return dirty_failure_set(failure_of(x), DIRTY_EPROTOCOL, x->started,
                             "broken answer from %s: %s", dirty_socket(x->client), why);
}

int dirty_exchange_fail_timeout(dirty_exchange *x) {
    dirty_conn_close(&x->client->conn);
    return dirty_failure_set(failure_of(x), DIRTY_ETIMEOUT, x->started,
                             "%s.%s got no answer from %s within its budget of %u ms "
                             "and %d ms more",
                             x->request->app, x->request->action, dirty_socket(x->client),
                             x->budget_ms, DIRTY_MARGIN_MS);
}

/* A read failed after `have` of `want` bytes of a frame. */
static int fail_read(dirty_exchange *x, int rc, size_t have, size_t want) {
    const char *why = rc == -ENODATA ? "closed by the server" : strerrordesc_np(-rc);
    if (rc == -ETIMEDOUT && x->nonblocking)
        return DIRTY_EXCHANGE_AGAIN;
    if (rc == -ETIMEDOUT)
        return dirty_exchange_fail_timeout(x);
    dirty_conn_close(&x->client->conn);
    if (have > 0)
        return dirty_failure_set(failure_of(x), DIRTY_ECONNECTION, x->started,
                                 "the connection to %s was lost in the middle of the "
                                 "answer, after %zu of %zu bytes: %s",
                                 dirty_socket(x->client), have, want, why);
    /* ECONNRESET: the kernel discarded bytes of ours that nobody had read, so no lane has
     * the request. A part of a request never runs. After a plain end of input that is
     * unknown. After a chunk the app has run. */
    bool reached_nobody =
        (rc == -ECONNRESET || x->send_failed) && strcmp(x->started, "yes") != 0;
    dirty_failure_set(failure_of(x), DIRTY_ECONNECTION,
                      reached_nobody ? "no" : x->started,
                      "the connection to %s was lost before an answer arrived: %s",
                      dirty_socket(x->client), why);
    return reached_nobody ? DIRTY_EXCHANGE_RETRY : DIRTY_ECONNECTION;
}

static int fail_header(dirty_exchange *x, dirty_wire_fault fault,
                       const dirty_frame *frame) {
    char why[160];
    if (fault != DIRTY_WIRE_TOO_LONG || frame->type == DIRTY_FRAME_ERROR)
        return fail_protocol(x, dirty_wire_fault_text(fault));
    if (frame->id == x->client->last_id)
        x->started = "yes";
    snprintf(why, sizeof why,
             "it has %u bytes, the client's option max_message allows %u; raise it",
             frame->payload_len, x->client->max_message);
    return fail_protocol(x, why);
}

/* Read the available payload into `data`. 0: it is complete. */
static int read_payload(dirty_exchange *x, uint8_t *data) {
    size_t n = 0;
    int rc =
        dirty_conn_read(&x->client->conn, data + x->have, x->frame.payload_len - x->have,
                        x->nonblocking ? 1 : x->until_ns, &n);
    x->have += (uint32_t)n;
    if (rc < 0)
        return fail_read(x, rc, DIRTY_FRAME_HEADER_LEN + (size_t)x->have,
                         DIRTY_FRAME_HEADER_LEN + (size_t)x->frame.payload_len);
    return 0;
}

/* Free an unfinished reply. Returns rc. */
static int drop_reply(dirty_exchange *x, int rc) {
    dirty_reply_free(x->reply);
    x->reply = NULL;
    return rc;
}

static int read_response(dirty_exchange *x) {
    char why[200];
    if (x->reply == NULL)
        x->reply = dirty_reply_new(x->frame.payload_len);
    if (x->reply == NULL)
        return fail_memory(x, x->frame.payload_len);
    int rc = read_payload(x, x->reply->payload);
    if (rc == DIRTY_EXCHANGE_AGAIN)
        return rc;
    if (rc != 0)
        return drop_reply(x, rc);
    rc = dirty_reply_decode(x->reply, why, sizeof why);
    if (rc < 0)
        rc = rc == -ENOMEM ? fail_memory(x, x->frame.payload_len) : fail_protocol(x, why);
    return rc < 0 ? drop_reply(x, rc) : 0;
}

/* Whether the server will read the next request after the error that was just read. */
static bool connection_is_good(const dirty_exchange *x, const dirty_frame *frame) {
    const dirty_client *c = x->client;
    size_t frame_len = DIRTY_FRAME_HEADER_LEN + dirty_request_payload_len(x->request);
    if (frame->id == 0 || dirty_err(c) == DIRTY_EPROTOCOL)
        return false;
    return frame_len <= SURELY_READ_LEN || strcmp(dirty_err_started(c), "yes") == 0;
}

static int read_error(dirty_exchange *x) {
    size_t len = x->frame.payload_len;
    if (x->error_payload == NULL)
        x->error_payload = dirty_realloc(NULL, len + 1);
    if (x->error_payload == NULL)
        return fail_memory(x, len);
    int rc = read_payload(x, x->error_payload);
    if (rc == DIRTY_EXCHANGE_AGAIN)
        return rc;
    uint8_t *payload = x->error_payload;
    x->error_payload = NULL;
    const char *wrong = rc == 0 ? dirty_failure_take(failure_of(x), payload, len) : NULL;
    if (rc != 0 || wrong != NULL) {
        dirty_dealloc(payload);
        return rc != 0 ? rc : fail_protocol(x, wrong);
    }
    if (!connection_is_good(x, &x->frame))
        dirty_conn_close(&x->client->conn);
    return dirty_err(x->client);
}

/* Refuse a frame that can't be part of this answer. */
static int refuse_frame(dirty_exchange *x, const dirty_frame *frame) {
    if (frame->type == DIRTY_FRAME_REQUEST)
        return fail_protocol(x, "it is a REQUEST");
    x->started = "yes";
    dirty_conn_close(&x->client->conn);
    return dirty_failure_set(failure_of(x), DIRTY_EPROTOCOL, x->started,
                             "%s.%s streams its result: use stream, a plain call takes a "
                             "single answer",
                             x->request->app, x->request->action);
}

/* Check the frame's id. Another id answers another request, and nothing after it can be
 * trusted. Id 0 belongs to no request: the server uses it for the connection itself. */
static int check_id(dirty_exchange *x, const dirty_frame *frame) {
    char why[96];
    uint64_t id = x->client->last_id;
    if (frame->id == id || (frame->id == 0 && frame->type == DIRTY_FRAME_ERROR))
        return 0;
    snprintf(why, sizeof why, "its id is %llu, the request's is %llu",
             (unsigned long long)frame->id, (unsigned long long)id);
    return fail_protocol(x, why);
}

/* Read the next header and check that its frame is expected. */
static int read_header(dirty_exchange *x) {
    dirty_conn *conn = &x->client->conn;
    dirty_wire_fault fault;
    x->frame = (dirty_frame){0};
    int rc = dirty_conn_read_header(conn, x->client->max_message,
                                    x->nonblocking ? 1 : x->until_ns, &x->frame, &fault);
    if (rc == -EPROTO)
        return fail_header(x, fault, &x->frame);
    if (rc < 0)
        return fail_read(x, rc, dirty_conn_pending(conn), DIRTY_FRAME_HEADER_LEN);
    rc = check_id(x, &x->frame);
    if (rc < 0 || x->frame.type == DIRTY_FRAME_ERROR)
        return rc;
    bool piece = x->frame.type == DIRTY_FRAME_CHUNK || x->frame.type == DIRTY_FRAME_END;
    if (x->frame.type != DIRTY_FRAME_RESPONSE && !(x->streams && piece))
        return refuse_frame(x, &x->frame);
    x->started = "yes";
    if (x->frame.type == DIRTY_FRAME_END && x->frame.payload_len > 0)
        return fail_protocol(x, "its END has a payload");
    return 0;
}

int dirty_exchange_read_answer(dirty_exchange *x) {
    int rc = 0;
    if (!x->in_payload) {
        rc = read_header(x);
        if (rc != 0)
            return rc;
        x->in_payload = true;
        x->have = 0;
    }
    if (x->frame.type == DIRTY_FRAME_ERROR)
        rc = read_error(x);
    else if (x->frame.type != DIRTY_FRAME_END)
        rc = read_response(x);
    if (rc == DIRTY_EXCHANGE_AGAIN)
        return rc;
    x->in_payload = false;
    x->ended = x->frame.type != DIRTY_FRAME_CHUNK;
    return rc;
}
