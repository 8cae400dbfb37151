/* exchange: one call, from connecting to the answer (dirty_call). */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "client/alloc.h"
#include "client/exchange.h"
#include "client/socket_path.h"

#define TRIES 2

/* -- Connecting --------------------------------------------------------------------- */

static int connect_client(dirty_exchange *x) {
    dirty_client *c = x->client;
    const char *path = dirty_socket(c);
    if (c->private_dir && !dirty_socket_path_is_safe(path))
        return dirty_failure_set(&c->failure, DIRTY_ECONNECTION, "no",
                                 "will not use %s: its directory must belong to the "
                                 "caller and be closed to others (mode 0700)",
                                 path);
    int rc = dirty_conn_open(&c->conn, &c->address, x->nonblocking ? 1 : x->deadline_ns);
    if (rc == -EAGAIN && x->nonblocking && dirty_now_ns() < x->deadline_ns)
        return DIRTY_EXCHANGE_AGAIN;
    if (rc == -EAGAIN)
        return dirty_failure_set(
            &c->failure, DIRTY_EOVERLOADED, "no",
            "the listen queue of %s stayed full for the budget of "
            "%u ms; raise the server's option backlog, or make fewer calls",
            path, x->budget_ms);
    return rc < 0 ? dirty_socket_path_explain(path, -rc, &c->failure) : 0;
}

int dirty_exchange_connect(dirty_exchange *x) {
    dirty_conn *conn = &x->client->conn;
    x->sent_whole = x->out_begun = false;
    x->started = "no";
    if (dirty_conn_is_open(conn) &&
        !(dirty_conn_is_ours(conn) && dirty_conn_is_idle(conn)))
        dirty_conn_close(conn);
    return dirty_conn_is_open(conn) ? 0 : connect_client(x);
}

/* -- Sending ------------------------------------------------------------------------ */

/* The rest of the budget in milliseconds, rounded up. 0: none. */
static uint32_t budget_left_ms(const dirty_exchange *x) {
    uint64_t now = dirty_now_ns();
    if (now >= x->deadline_ns)
        return 0;
    return (uint32_t)((x->deadline_ns - now + DIRTY_NS_PER_MS - 1) / DIRTY_NS_PER_MS);
}

static bool peer_is_gone(int rc) {
    return rc == -EPIPE || rc == -ECONNRESET || rc == -ENOTCONN;
}

static int begin_sending(dirty_exchange *x) {
    dirty_client *c = x->client;
    uint32_t budget_ms = budget_left_ms(x);
    if (budget_ms == 0)
        return dirty_failure_set(&c->failure, DIRTY_ETIMEOUT, "no",
                                 "the budget of %u ms ended before the request was sent",
                                 x->budget_ms);
    dirty_outgoing_init(&x->out, x->request, ++c->last_id, budget_ms, x->deadline_ns);
    x->out_begun = true;
    return 0;
}

/* Send as much of the request as the peer takes. 0: read the answer now. It is often
 * there even if the peer did not take all of the request. */
int dirty_exchange_send(dirty_exchange *x) {
    dirty_client *c = x->client;
    int rc = x->out_begun ? 0 : begin_sending(x);
    if (rc < 0)
        return rc;
    rc = dirty_conn_send(&c->conn, &x->out, x->nonblocking ? 1 : x->until_ns);
    if (rc == -ETIMEDOUT && x->nonblocking)
        return DIRTY_EXCHANGE_AGAIN;
    x->sent_whole = rc == 0;
    x->started = rc == 0 ? "unknown" : "no";
    x->send_failed = peer_is_gone(rc);
    if (rc >= 0 || peer_is_gone(rc))
        return 0;
    if (rc == -ETIMEDOUT)
        return dirty_exchange_fail_timeout(x);
    dirty_conn_close(&c->conn);
    return dirty_failure_set(&c->failure, DIRTY_ECONNECTION, "no", "can't send to %s: %s",
                             dirty_socket(c), strerrordesc_np(-rc));
}

/* -- The call ----------------------------------------------------------------------- */

static int try_once(dirty_exchange *x) {
    int rc = dirty_exchange_connect(x);
    if (rc == 0)
        rc = dirty_exchange_send(x);
    return rc == 0 ? dirty_exchange_read_answer(x) : rc;
}

void dirty_exchange_settle(dirty_exchange *x) {
    if (!x->sent_whole || dirty_conn_pending(&x->client->conn) > 0)
        dirty_conn_close(&x->client->conn);
}

/* Refuse a request that can't be sent. */
static int check_request(dirty_client *c, const dirty_request *r) {
    if (r == NULL)
        return dirty_failure_set(&c->failure, DIRTY_EINVALID, "no", "no request given");
    if (r->failed != 0)
        return dirty_failure_set(&c->failure, r->failed, "no", "%s.%s was not called: %s",
                                 r->app, r->action, r->why);
    uint64_t len = dirty_request_payload_len(r);
    if (len > c->max_message)
        return dirty_failure_set(&c->failure, DIRTY_EPROTOCOL, "no",
                                 "the request has %llu bytes, the client's option "
                                 "max_message allows %u; raise it, and the server's",
                                 (unsigned long long)len, c->max_message);
    return 0;
}

int dirty_exchange_init(dirty_exchange *x, dirty_client *c, const dirty_request *r) {
    *x = (dirty_exchange){.client = c, .request = r, .started = "no"};
    if (!c->broken)
        dirty_failure_clear(&c->failure);
    int rc = c->broken ? dirty_err(c) : check_request(c, r);
    if (rc == 0 && c->stream_cut != NULL)
        rc = dirty_failure_set(&c->failure, DIRTY_EINVALID, "no",
                               "the client has an open stream: close that first");
    x->start_ns = dirty_now_ns();
    if (r == NULL)
        return rc;
    x->budget_ms = r->budget_ms ? r->budget_ms : c->timeout_ms;
    x->deadline_ns = x->start_ns + x->budget_ms * DIRTY_NS_PER_MS;
    x->until_ns = x->deadline_ns + DIRTY_MARGIN_MS * DIRTY_NS_PER_MS;
    return rc;
}

void dirty_exchange_deinit(dirty_exchange *x) {
    dirty_reply_free(x->reply);
    dirty_dealloc(x->error_payload);
    x->reply = NULL;
    x->error_payload = NULL;
}

int dirty_exchange_start(dirty_exchange *x) {
    int rc = DIRTY_EXCHANGE_RETRY;
    for (int tries = 0; rc == DIRTY_EXCHANGE_RETRY && tries < TRIES; tries++) {
        rc = try_once(x);
        if (rc != 0 || x->ended)
            dirty_exchange_settle(x);
    }
    return rc == DIRTY_EXCHANGE_RETRY ? dirty_err(x->client) : rc;
}

int dirty_exchange_describe(dirty_exchange *x) {
    dirty_failure_describe(&x->client->failure, x->request->app_name,
                           x->request->action_name,
                           (dirty_now_ns() - x->start_ns) / DIRTY_NS_PER_MS);
    return dirty_err(x->client);
}

int dirty_refuse_no_place(dirty_client *c) {
    if (c == NULL || c->broken)
        return DIRTY_EINVALID;
    return dirty_failure_set(&c->failure, DIRTY_EINVALID, "no",
                             "there is no place for the reply");
}

int dirty_call(dirty_client *c, const dirty_request *r, dirty_reply **out) {
    dirty_exchange x;
    if (out == NULL)
        return dirty_refuse_no_place(c);
    *out = NULL;
    if (c == NULL)
        return DIRTY_EMEMORY;
    int rc = dirty_exchange_init(&x, c, r);
    if (rc == 0)
        rc = dirty_exchange_start(&x);
    if (rc == 0) {
        dirty_failure_clear(&c->failure); /* drop the failure of a first try */
        *out = x.reply;
        return 0;
    }
    return r == NULL ? rc : dirty_exchange_describe(&x);
}
