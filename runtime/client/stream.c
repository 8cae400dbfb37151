#include "client/stream.h"

#include "client/alloc.h"
#include "client/exchange.h"

struct dirty_stream {
    dirty_exchange x; /* x.client NULL: the client was freed */
    bool first;       /* the first frame was read when the stream was opened */
    int failed;       /* what ended it, 0: its END */
};

/* The next frame will be of another call, or there is none: let the client go. */
static void release(dirty_stream *s) {
    dirty_client *c = s->x.client;
    if (c != NULL && c->stream == s)
        c->stream = NULL;
}

int dirty_stream_open(dirty_client *c, const dirty_request *r, dirty_stream **out) {
    *out = NULL;
    if (c == NULL)
        return DIRTY_EMEMORY;
    dirty_stream *s = dirty_realloc(NULL, sizeof *s);
    if (s == NULL)
        return dirty_failure_set(&c->failure, DIRTY_EMEMORY, "no",
                                 "no memory in the client for a stream");
    int rc = dirty_exchange_init(&s->x, c, r);
    s->x.streams = s->first = true;
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
    if (!s->x.ended)
        c->stream = s;
    *out = s;
    return 0;
}

/* In a forked process: what is read here would be missing there. */
static int refuse_copy(dirty_stream *s) {
    dirty_client *c = s->x.client;
    s->x.ended = true;
    dirty_failure_set(&c->failure, DIRTY_EINVALID, "no",
                      "the stream is one of process %d, which opened it before this "
                      "process was forked: close it here, and open another",
                      (int)c->conn.owner);
    return dirty_exchange_describe(&s->x);
}

/* Read the frame behind those that were taken. */
static int read_next(dirty_stream *s) {
    if (!dirty_conn_is_ours(&s->x.client->conn))
        return refuse_copy(s);
    int rc = dirty_exchange_read_answer(&s->x);
    if (rc != 0 || s->x.ended) {
        if (rc < 0 || !dirty_conn_is_open(&s->x.client->conn))
            s->x.ended = true;
        dirty_exchange_settle(&s->x);
        release(s);
    }
    /* Chunks may have come: nothing is ever sent twice. */
    return rc == 0 ? 0 : dirty_exchange_describe(&s->x);
}

int dirty_stream_next(dirty_stream *s, dirty_reply **chunk) {
    *chunk = NULL;
    if (s == NULL || s->x.client == NULL)
        return DIRTY_EINVALID;
    if (!s->first) {
        if (s->x.ended)
            return s->failed;
        int rc = read_next(s);
        if (rc < 0)
            return s->failed = rc;
    }
    s->first = false;
    *chunk = s->x.reply;
    s->x.reply = NULL;
    return *chunk != NULL;
}

void dirty_stream_close(dirty_stream *s) {
    if (s == NULL)
        return;
    dirty_exchange_deinit(&s->x);
    if (s->x.client != NULL && !s->x.ended)
        dirty_close(s->x.client); /* which tells the server to stop */
    release(s);
    dirty_dealloc(s);
}

void dirty_stream_orphan(dirty_stream *s) {
    if (s == NULL)
        return;
    s->x.client->stream = NULL;
    s->x.client = NULL;
    s->x.ended = true;
}
