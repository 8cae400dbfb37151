/* answer: the way in of an exchange. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/alloc.h"
#include "client/exchange.h"

/* The server reads a request of at most this size, frame and all, before it does anything
 * with it. An answer that came early (OVERLOADED, say) to a longer one may leave some of
 * it unread, and then the server ends the connection. */
#define SURELY_READ_LEN 4096

static dirty_failure *failure_of(dirty_exchange *x) {
    return &x->client->failure;
}

static int fail_memory(dirty_exchange *x, size_t len) {
    dirty_close(x->client);
    return dirty_failure_set(failure_of(x), DIRTY_EMEMORY, x->started,
                             "no memory in the client for an answer of %zu bytes", len);
}

static int fail_protocol(dirty_exchange *x, const char *why) {
    dirty_close(x->client);
    return dirty_failure_set(failure_of(x), DIRTY_EPROTOCOL, x->started,
                             "broken answer from %s: %s", dirty_socket(x->client), why);
}

int dirty_exchange_fail_timeout(dirty_exchange *x) {
    dirty_close(x->client);
    return dirty_failure_set(failure_of(x), DIRTY_ETIMEOUT, x->started,
                             "%s.%s got no answer from %s within its budget of %u ms "
                             "and %d ms more",
                             x->request->app, x->request->action, dirty_socket(x->client),
                             x->budget_ms, DIRTY_MARGIN_MS);
}

/* A read failed after `have` of the `want` bytes of a frame that were asked for. */
static int fail_read(dirty_exchange *x, int rc, size_t have, size_t want) {
    const char *why = rc == -ENODATA ? "closed by the server" : strerrordesc_np(-rc);
    if (rc == -ETIMEDOUT)
        return dirty_exchange_fail_timeout(x);
    dirty_close(x->client);
    if (have > 0)
        return dirty_failure_set(failure_of(x), DIRTY_ECONNECTION, x->started,
                                 "the connection to %s was lost in the midst of the "
                                 "answer, after %zu of %zu bytes: %s",
                                 dirty_socket(x->client), have, want, why);
    /* ECONNRESET: the kernel threw away bytes of ours that nobody had read, so no lane
     * has the request. After the end of input alone nobody knows. */
    bool reached_nobody = rc == -ECONNRESET || x->first_write_failed;
    dirty_failure_set(failure_of(x), DIRTY_ECONNECTION,
                      reached_nobody ? "no" : x->started,
                      "the connection to %s was lost before an answer came: %s",
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

static int read_response(dirty_exchange *x, uint32_t len) {
    size_t have;
    dirty_wire_fault fault = DIRTY_WIRE_OK;
    dirty_reply *reply = dirty_reply_new(len);
    if (reply == NULL)
        return fail_memory(x, len);
    int rc = dirty_conn_read(&x->client->conn, reply->payload, len, x->until_ns, &have);
    if (rc < 0) {
        dirty_reply_free(reply);
        return fail_read(x, rc, DIRTY_FRAME_HEADER_LEN + have,
                         DIRTY_FRAME_HEADER_LEN + len);
    }
    rc = dirty_reply_decode(reply, &fault);
    if (rc < 0) {
        dirty_reply_free(reply);
        return rc == -ENOMEM ? fail_memory(x, len)
                             : fail_protocol(x, dirty_wire_fault_text(fault));
    }
    x->reply = reply;
    return 0;
}

/* Will the server read on after the error that was just taken? */
static bool connection_is_good(const dirty_exchange *x, const dirty_frame *frame) {
    const dirty_client *c = x->client;
    size_t frame_len = DIRTY_FRAME_HEADER_LEN + dirty_request_payload_len(x->request);
    if (frame->id == 0 || dirty_err(c) == DIRTY_EPROTOCOL)
        return false;
    return frame_len <= SURELY_READ_LEN || strcmp(dirty_err_started(c), "yes") == 0;
}

static int read_error(dirty_exchange *x, const dirty_frame *frame) {
    size_t len = frame->payload_len, have;
    uint8_t *payload = dirty_realloc(NULL, len + 1);
    if (payload == NULL)
        return fail_memory(x, len);
    int rc = dirty_conn_read(&x->client->conn, payload, len, x->until_ns, &have);
    if (rc < 0) {
        dirty_dealloc(payload);
        return fail_read(x, rc, DIRTY_FRAME_HEADER_LEN + have,
                         DIRTY_FRAME_HEADER_LEN + len);
    }
    const char *wrong = dirty_failure_take(failure_of(x), payload, len);
    if (wrong != NULL) {
        dirty_dealloc(payload);
        return fail_protocol(x, wrong);
    }
    if (!connection_is_good(x, frame))
        dirty_close(x->client);
    return dirty_err(x->client);
}

/* A frame that no plain call is answered with. */
static int refuse_frame(dirty_exchange *x, const dirty_frame *frame) {
    if (frame->type == DIRTY_FRAME_REQUEST)
        return fail_protocol(x, "it is a REQUEST");
    x->started = "yes";
    dirty_close(x->client);
    return dirty_failure_set(failure_of(x), DIRTY_EPROTOCOL, x->started,
                             "%s.%s streams its result: use stream, a plain call takes a "
                             "single answer",
                             x->request->app, x->request->action);
}

/* Another id is the answer to something else, and nothing after it can be trusted. No
 * request has id 0: with it a server speaks of the connection. */
static int check_id(dirty_exchange *x, const dirty_frame *frame) {
    char why[96];
    uint64_t id = x->client->last_id;
    if (frame->id == id || (frame->id == 0 && frame->type == DIRTY_FRAME_ERROR))
        return 0;
    snprintf(why, sizeof why, "its id is %llu, the request's is %llu",
             (unsigned long long)frame->id, (unsigned long long)id);
    return fail_protocol(x, why);
}

int dirty_exchange_read_answer(dirty_exchange *x) {
    dirty_conn *conn = &x->client->conn;
    dirty_frame frame = {0};
    dirty_wire_fault fault;
    int rc =
        dirty_conn_read_header(conn, x->client->max_message, x->until_ns, &frame, &fault);
    if (rc == -EPROTO)
        return fail_header(x, fault, &frame);
    if (rc < 0)
        return fail_read(x, rc, dirty_conn_pending(conn), DIRTY_FRAME_HEADER_LEN);
    rc = check_id(x, &frame);
    if (rc < 0)
        return rc;
    if (frame.type == DIRTY_FRAME_ERROR) {
        x->ended = true;
        return read_error(x, &frame);
    }
    bool piece = frame.type == DIRTY_FRAME_CHUNK || frame.type == DIRTY_FRAME_END;
    if (frame.type != DIRTY_FRAME_RESPONSE && !(x->streams && piece))
        return refuse_frame(x, &frame);
    x->started = "yes";
    x->ended = frame.type != DIRTY_FRAME_CHUNK;
    if (frame.type != DIRTY_FRAME_END)
        return read_response(x, frame.payload_len);
    return frame.payload_len == 0 ? 0 : fail_protocol(x, "its END has a payload");
}
