/* An HTTP server that never blocks: the heavy work is done by dirty workers, which it
 * starts and owns. One thread, one loop.
 *
 *     cc server.c $(pkg-config --cflags --libs dirty libmicrohttpd) -o server
 *     ./server 8080
 *
 *     curl --data-binary @photo.jpg 'localhost:8080/thumbnail?width=200' -o small.jpg
 *     curl 'localhost:8080/count?n=1000000'
 *
 * /thumbnail is a call: upload in, picture out. /count is a stream: what the app yields
 * is sent as it comes, and a reader that is slow makes the app wait. The connection of an
 * HTTP client that waits for its answer is suspended, so it costs memory but no time. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <dirty.h>
#include <microhttpd.h>

#define UPLOAD_MAX (16u << 20)
#define CALL_BUDGET_MS 5000
#define STREAM_BUDGET_MS 60000
/* Of a stream: so much may wait for its reader before the app has to. */
#define STREAM_AHEAD 65536
#define STREAM_BLOCK 16384
#define STOP_MS 5000

typedef struct bytes {
    char *base; /* owned */
    size_t len, cap, max;
} bytes;

typedef struct server {
    dirty_runtime *runtime;
    dirty_async *calls; /* NULL while it ends */
    struct MHD_Daemon *http;
} server;

/* One HTTP request and the call that it makes. */
typedef struct job {
    server *server;
    struct MHD_Connection *connection; /* NULL: its client has gone */
    bytes body;                        /* the upload */
    char options[64]; /* JSON; the call borrows both until it has ended */
    uint64_t ticket;
    int started, pending; /* a call was made; its last callback is to come */
    int suspended;        /* the connection waits for us */
    int streams, answered, paused;
    int too_large;      /* the upload: the rest of it is thrown away */
    dirty_reply *reply; /* owned; of a call */
    bytes ahead;        /* of a stream: what its reader has not taken */
    int err;
    char error[512];
} job;

/* -- Bytes -------------------------------------------------------------------------- */

/* 0, or -1 for too much or no memory. */
static int append(bytes *b, const void *data, size_t len) {
    if (len > b->max - b->len)
        return -1;
    if (b->cap - b->len < len) {
        size_t cap = 2 * (b->len + len);
        char *base = realloc(b->base, cap);
        if (base == NULL)
            return -1;
        b->base = base;
        b->cap = cap;
    }
    memcpy(b->base + b->len, data, len);
    b->len += len;
    return 0;
}

static size_t take(bytes *b, char *out, size_t max) {
    size_t n = b->len < max ? b->len : max;
    memcpy(out, b->base, n);
    memmove(b->base, b->base + n, b->len - n);
    b->len -= n;
    return n;
}

/* -- The job and its connection ----------------------------------------------------- */

static void suspend(job *j) {
    if (j->suspended)
        return;
    j->suspended = 1;
    MHD_suspend_connection(j->connection);
}

static void resume(job *j) {
    if (!j->suspended)
        return;
    j->suspended = 0;
    MHD_resume_connection(j->connection);
}

/* When neither the connection nor the call needs it any more. */
static void free_job(job *j) {
    if (j->connection != NULL || j->pending)
        return;
    dirty_reply_free(j->reply);
    free(j->body.base);
    free(j->ahead.base);
    free(j);
}

/* The HTTP request is over, by an answer or because its client left. */
static void on_completed(void *arg, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode why) {
    job *j = *slot;
    (void)arg;
    (void)connection;
    (void)why;
    if (j == NULL)
        return;
    j->connection = NULL;
    *slot = NULL;
    if (j->pending && j->server->calls != NULL) /* nobody wants its result */
        dirty_async_cancel(j->server->calls, j->ticket);
    else
        free_job(j);
}

/* -- Calls -------------------------------------------------------------------------- */

static void note_error(job *j, int err, const char *message) {
    j->err = err;
    snprintf(j->error, sizeof j->error, "%s: %s\n", dirty_err_name(err), message);
}

/* A chunk: a line of it for each of its values. */
static void note_chunk(job *j, const dirty_reply *chunk) {
    const char *data;
    size_t len;
    for (size_t i = 0; dirty_reply_value(chunk, i, &data, &len) != 0; i++)
        if (append(&j->ahead, data, len) < 0 || append(&j->ahead, "\n", 1) < 0)
            note_error(j, DIRTY_EMEMORY, "no memory for a chunk");
    if (j->ahead.len >= STREAM_AHEAD && !j->paused) {
        j->paused = 1;
        dirty_async_pause(j->server->calls, j->ticket, 1);
    }
}

static void on_outcome(dirty_async *calls, dirty_outcome *outcome, void *arg) {
    job *j = arg;
    (void)calls;
    j->pending = outcome->more;
    if (outcome->err < 0)
        note_error(j, outcome->err, outcome->message);
    else if (j->streams && outcome->reply != NULL)
        note_chunk(j, outcome->reply);
    else if (!j->streams)
        j->reply = dirty_outcome_take(outcome);
    if (j->connection != NULL)
        resume(j);
    else
        free_job(j);
}

/* Make the call; its result comes to on_outcome. */
static void start(job *j, const char *app, const char *action, const char *format, ...) {
    dirty_request *r = NULL;
    va_list args;
    va_start(args, format);
    int err = dirty_request_new(&r, app, action);
    if (err == 0)
        err = dirty_request_vaddf(r, format, args);
    va_end(args);
    if (err == 0) {
        dirty_request_set_budget_ms(r, j->streams ? STREAM_BUDGET_MS : CALL_BUDGET_MS);
        err = (j->streams ? dirty_async_stream : dirty_async_call)(
            j->server->calls, r, on_outcome, j, &j->ticket);
    }
    if (err < 0) { /* too many wait, say: answer at once */
        dirty_request_free(r);
        note_error(j, err, dirty_strerror(err));
        return;
    }
    j->pending = 1;
    suspend(j);
}

/* -- Answers ------------------------------------------------------------------------ */

static enum MHD_Result answer(job *j, unsigned status, const char *type,
                              struct MHD_Response *response) {
    j->answered = 1;
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    enum MHD_Result result = MHD_queue_response(j->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_text(job *j, unsigned status, const char *text) {
    return answer(j, status, "text/plain",
                  MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                  MHD_RESPMEM_MUST_COPY));
}

static enum MHD_Result answer_picture(job *j) {
    const char *data;
    size_t len;
    if (dirty_reply_value(j->reply, 0, &data, &len) != DIRTY_BYTES)
        return answer_text(j, 502, "the app gave no picture\n");
    return answer(j, 200, "image/jpeg",
                  MHD_create_response_from_buffer(len, (void *)(uintptr_t)data,
                                                  MHD_RESPMEM_MUST_COPY));
}

/* What the HTTP library wants next of a stream. */
static ssize_t read_stream(void *arg, uint64_t position, char *out, size_t max) {
    job *j = arg;
    (void)position;
    if (j->ahead.len > 0) {
        size_t n = take(&j->ahead, out, max);
        if (j->paused && j->pending && j->ahead.len < STREAM_AHEAD / 2) {
            j->paused = 0;
            dirty_async_pause(j->server->calls, j->ticket, 0);
        }
        return (ssize_t)n;
    }
    if (j->err < 0) {
        fputs(j->error, stderr);
        return MHD_CONTENT_READER_END_WITH_ERROR; /* cuts the answer off, visibly */
    }
    if (!j->pending)
        return MHD_CONTENT_READER_END_OF_STREAM;
    suspend(j);
    return 0;
}

static enum MHD_Result answer_stream(job *j) {
    return answer(j, 200, "text/plain",
                  MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                                    read_stream, j, NULL));
}

/* -- Requests ----------------------------------------------------------------------- */

static int number_of(job *j, const char *name, int otherwise) {
    const char *text =
        MHD_lookup_connection_value(j->connection, MHD_GET_ARGUMENT_KIND, name);
    return text == NULL ? otherwise : atoi(text);
}

/* The request is here whole. */
static enum MHD_Result begin(job *j, const char *url, const char *method) {
    j->started = 1;
    if (strcmp(url, "/thumbnail") == 0 && strcmp(method, "POST") == 0) {
        snprintf(j->options, sizeof j->options, "{\"width\":%d,\"format\":\"jpeg\"}",
                 number_of(j, "width", 256));
        start(j, "apps.image", "thumbnail", "%b %j", j->body.base, j->body.len,
              j->options);
    } else if (strcmp(url, "/count") == 0 && strcmp(method, "GET") == 0) {
        j->streams = 1;
        start(j, "apps.echo", "count", "%d", number_of(j, "n", 10));
    } else {
        return answer_text(j, 404, "POST /thumbnail?width=N, or GET /count?n=N\n");
    }
    return MHD_YES;
}

/* The call has something for us, or could not be made. */
static enum MHD_Result go_on(job *j) {
    if (j->err < 0 && j->ahead.len == 0)
        return answer_text(j, (unsigned)dirty_err_http_status(j->err), j->error);
    if (j->streams)
        return answer_stream(j);
    return j->pending ? MHD_YES : answer_picture(j);
}

/* Comes for the head of a request, for pieces of its body, at its end, and after the
 * connection was resumed. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection,
                                  const char *url, const char *method,
                                  const char *version, const char *upload,
                                  size_t *upload_len, void **slot) {
    job *j = *slot;
    (void)version;
    if (j == NULL) {
        *slot = j = calloc(1, sizeof *j);
        if (j == NULL)
            return MHD_NO;
        j->server = arg;
        j->connection = connection;
        j->body.max = UPLOAD_MAX;
        j->ahead.max = SIZE_MAX;
        return MHD_YES;
    }
    if (*upload_len > 0) {
        if (append(&j->body, upload, *upload_len) < 0)
            j->too_large = 1;
        *upload_len = 0;
        return MHD_YES;
    }
    if (j->answered)
        return MHD_YES;
    if (j->too_large)
        return answer_text(j, 413, "the upload is too large\n");
    if (!j->started) {
        enum MHD_Result result = begin(j, url, method);
        if (j->pending || j->answered)
            return result;
    }
    return go_on(j);
}

/* -- Server ------------------------------------------------------------------------- */

static int open_runtime(server *s) {
    static const char *const apps[] = {"apps.image", "apps.echo", NULL};
    dirty_spawn_options o;
    dirty_async_options calls;
    const char *home = getenv("DIRTY_APPS"); /* where apps/ is, for the demonstration */
    char path[512];
    const char *args[] = {"--workers", "2", home ? "--lua-path" : NULL, path, NULL};
    snprintf(path, sizeof path, "%s/?.lua", home ? home : "");
    dirty_spawn_options_init(&o);
    o.apps = apps;
    o.args = args;
    if (dirty_spawn(&s->runtime, &o) < 0) {
        fprintf(stderr, "%s\n", dirty_runtime_errmsg(s->runtime));
        return -1;
    }
    dirty_async_options_init(&calls);
    calls.client.socket = dirty_runtime_socket(s->runtime);
    if (dirty_async_open(&s->calls, &calls) == 0)
        return 0;
    fprintf(stderr, "%s\n", dirty_async_errmsg(s->calls));
    return -1;
}

static int open_http(server *s, uint16_t port) {
    s->http = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, port, NULL, NULL,
                               on_request, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
                               NULL, MHD_OPTION_CONNECTION_TIMEOUT, 30u, MHD_OPTION_END);
    if (s->http == NULL) {
        fprintf(stderr, "can't listen on port %u\n", port);
        return -1;
    }
    printf("listening on port %u\n",
           MHD_get_daemon_info(s->http, MHD_DAEMON_INFO_BIND_PORT)->port);
    return fflush(stdout);
}

static int open_signals(void) {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    return signalfd(-1, &ends, SFD_CLOEXEC);
}

/* Until a signal comes (0) or the runtime has ended (-1). */
static int run(server *s, int signals) {
    int http = MHD_get_daemon_info(s->http, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    for (;;) {
        MHD_UNSIGNED_LONG_LONG ms;
        int timeout =
            MHD_get_timeout(s->http, &ms) == MHD_YES && ms < 1000 ? (int)ms : 1000;
        struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
                               {.fd = dirty_runtime_fd(s->runtime), .events = POLLIN},
                               {.fd = dirty_async_fd(s->calls), .events = POLLIN},
                               {.fd = http, .events = POLLIN}};
        poll(fds, 4, timeout);
        if (fds[0].revents != 0)
            return 0;
        if (fds[1].revents != 0 && !dirty_runtime_alive(s->runtime)) {
            fprintf(stderr, "the dirty runtime has ended\n");
            return -1;
        }
        dirty_async_ready(s->calls);
        MHD_run(s->http);
    }
}

/* Whoever still waits is told, no connection may stay suspended. */
static void close_server(server *s) {
    dirty_async *calls = s->calls;
    s->calls = NULL;
    dirty_async_free(calls);
    for (int rounds = 0; s->http != NULL && rounds < 10; rounds++)
        MHD_run(s->http);
    if (s->http != NULL)
        MHD_stop_daemon(s->http);
    if (s->runtime != NULL)
        dirty_runtime_stop(s->runtime, STOP_MS);
    dirty_runtime_free(s->runtime);
}

int main(int argc, char **argv) {
    server s = {0};
    int signals = open_signals(), rc = -1;
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    if (signals >= 0 && open_runtime(&s) == 0 &&
        open_http(&s, (uint16_t)atoi(argv[1])) == 0)
        rc = run(&s, signals);
    close_server(&s);
    return rc == 0 ? 0 : 1;
}
