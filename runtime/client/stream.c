#include "client/alloc.h"
#include "client/exchange.h"

struct dirty_stream {
    dirty_exchange x;   /* holds a reference to its client: see internal.h */
    dirty_request call; /* names and sizes of the request, which may be freed by now */
    bool first;         /* the first frame was already read at open */
    bool cut;           /* dirty_close closed its connection */
    int failed;         /* the code that ended it; 0: END */
};

/* -- Opening and closing ------------------------------------------------------------- */

/* Copy names and sizes of the request, but nothing that it owns or borrows. Nothing of it
 * is sent from here on. */
static void keep_call(dirty_stream *s, const dirty_request *r) {
    s->call = *r;
    s->call.args = NULL;
    s->call.cap = 0;
    s->call.app_name.base = s->call.app;
    s->call.action_name.base = s->call.action;
    s->x.request = s->x.out.request = &s->call;
}

/* Detach from the client: the next frame belongs to another call, or none will come. */
static void release(dirty_stream *s) {
    dirty_client *c = s->x.client;
    if (c->stream_cut == &s->cut)
        c->stream_cut = NULL;
}

int dirty_stream_open(dirty_client *c, const dirty_request *r, dirty_stream **out) {
    if (out == NULL)
        return dirty_refuse_no_place(c);
    *out = NULL;
    if (c == NULL)
        return DIRTY_EMEMORY;
    dirty_stream *s = dirty_realloc(NULL, sizeof *s);
    if (s == NULL)
        return dirty_failure_set(&c->failure, DIRTY_EMEMORY, "no",
                                 "out of memory in the client for a stream");
    int rc = dirty_exchange_init(&s->x, c, r);
    s->x.streams = s->first = true;
    s->cut = false;
    s->failed = 0;
    if (rc == 0)
        rc = dirty_exchange_start(&s->x);
    if (rc < 0) {
        if (r != NULL)
            rc = dirty_exchange_describe(&s->x);
        dirty_exchange_deinit(&s->x);
        dirty_dealloc(s);
        return rc;
    }
    dirty_failure_clear(&c->failure);
    keep_call(s, r);
    c->refs++;
    if (!s->x.ended)
        c->stream_cut = &s->cut;
    *out = s;
    return 0;
}

void dirty_stream_close(dirty_stream *s) {
    if (s == NULL)
        return;
    dirty_client *c = s->x.client;
    if (c->stream_cut == &s->cut)
        dirty_conn_close(&c->conn); /* tells the server to stop */
    release(s);
    dirty_exchange_deinit(&s->x);
    dirty_dealloc(s);
    dirty_client_release(c);
}

/* -- Reading ------------------------------------------------------------------------ */

/* Refuse to read in a forked process: the parent would miss the bytes. */
static int refuse_copy(dirty_stream *s) {
    dirty_client *c = s->x.client;
    dirty_failure_set(&c->failure, DIRTY_EINVALID, "no",
                      "the stream belongs to process %d, which opened it before this "
                      "process was forked: close it here, and open another",
                      (int)c->conn.owner);
    return dirty_exchange_describe(&s->x);
}

static int refuse_cut(dirty_stream *s) {
    dirty_failure_set(&s->x.client->failure, DIRTY_ECANCELLED, "yes",
                      "the stream of %s.%s was closed by dirty_close", s->call.app,
                      s->call.action);
    return dirty_exchange_describe(&s->x);
}

/* Read the next frame. */
static int read_next(dirty_stream *s) {
    int rc = dirty_exchange_read_answer(&s->x);
    if (rc != 0 || s->x.ended) {
        dirty_exchange_settle(&s->x);
        release(s);
    }
    /* Chunks may have come, so never send the request again. */
    return rc == 0 ? 0 : dirty_exchange_describe(&s->x);
}

/* Returns 0 with the next frame read, or the code that ends the stream. */
static int go_on(dirty_stream *s) {
    if (s->x.client->freed)
        return DIRTY_EINVALID; /* no client is left to hold a message */
    if (s->first)
        return 0;
    if (s->cut)
        return refuse_cut(s);
    if (!dirty_conn_is_ours(&s->x.client->conn))
        return refuse_copy(s);
    return read_next(s);
}

int dirty_stream_next(dirty_stream *s, dirty_reply **chunk) {
    *chunk = NULL;
    if (s == NULL)
        return DIRTY_EINVALID;
    if (!s->first && s->x.ended)
        return s->failed;
    int rc = go_on(s);
    s->first = false;
    if (rc < 0) {
        s->x.ended = true;
        return s->failed = rc;
    }
    *chunk = s->x.reply;
    s->x.reply = NULL;
    return *chunk != NULL;
}
