/* dirty.h: libdirty, the client library of the lua-dirty runtime.
 *
 *     dirty_client *c;
 *     dirty_request *r;
 *     dirty_reply *reply;
 *     if (dirty_open(&c, NULL) < 0 || dirty_request_new(&r, "apps.echo", "echo") < 0)
 *         …
 *     dirty_request_add_bytes(r, data, len);
 *     if (dirty_call(c, r, &reply) < 0)
 *         fprintf(stderr, "%s: %s\n", dirty_err_name(dirty_err(c)), dirty_errmsg(c));
 *     …
 *     dirty_reply_free(reply);
 *     dirty_request_free(r);
 *     dirty_free(c);
 *
 * Errors: calls return 0 or a negative code DIRTY_E…. The client keeps the details of its
 * last failure (dirty_err, dirty_errmsg, …) until its next call.
 *
 * The library has no global state, never prints, raises no signal and changes no signal
 * handler. All functions that free or close something accept NULL.
 *
 * Order of freeing: requests, replies, clients, their streams and the runtime they call
 * may be freed in any order. No object keeps another one alive or waits for it. Using an
 * object after something it needs has ended returns an error code.
 *
 * Threads: only one thread at a time may use a client. Several clients are independent of
 * each other.
 *
 * Forks: in a forked process a client opens a connection of its own. An open stream and
 * an event-driven client stay with the process that opened them. In the child they can
 * only be closed or freed, which does not affect the parent. */
#ifndef DIRTY_H
#define DIRTY_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "dirty_errors.h"

#define DIRTY_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* -- Errors ------------------------------------------------------------------------- */

#define DIRTY_ERR_ENUM(name, number, http, started, retry, text) \
    DIRTY_E##name = -(number),
enum dirty_err {
    DIRTY_OK = 0,
    DIRTY_ERRORS(DIRTY_ERR_ENUM)
    /* The caller broke a function's contract. Never on the wire; nothing was sent. */
    DIRTY_EINVALID = -65536
};
#undef DIRTY_ERR_ENUM

/* Name of a code: "TIMEOUT" for DIRTY_ETIMEOUT, "OK" for 0, "UNKNOWN" for a code that
 * this version does not know (from a newer server). */
DIRTY_API const char *dirty_err_name(int err);
/* One line that says what the code means in general, for people. */
DIRTY_API const char *dirty_strerror(int err);
/* The HTTP status for a code: 504 for DIRTY_ETIMEOUT, 200 for 0. */
DIRTY_API int dirty_err_http_status(int err);

/* -- Client ------------------------------------------------------------------------- */

typedef struct dirty_client dirty_client;

/* Call dirty_options_init, then set fields by name. Later versions may add fields. */
typedef struct dirty_options {
    const char *socket;   /* path of the runtime's socket, copied; NULL: the default */
    uint32_t timeout_ms;  /* default budget of a call; 30000; at least 1 */
    uint32_t max_message; /* maximum payload of a request or reply, in bytes; 64 MiB */
    void *reserved[8];    /* NULL */
} dirty_options;

DIRTY_API void dirty_options_init(dirty_options *options);

/* Create a client. options NULL: all defaults. It connects at its first call and keeps
 * the connection. Returns 0, DIRTY_ECONNECTION (the path is too long for a socket),
 * DIRTY_EINVALID (an option is out of range) or DIRTY_EMEMORY. *out is set even after a
 * failure, so that you can read the message; it is NULL only if there is no memory for
 * it. Free it with dirty_free. Calls of a client that failed to open fail with the same
 * message. */
DIRTY_API int dirty_open(dirty_client **out, const dirty_options *options);

/* Close the connection. An open stream then fails with DIRTY_ECANCELLED. The client stays
 * usable: its next call connects again. */
DIRTY_API void dirty_close(dirty_client *c);

/* Close the connection and free the client. Requests and replies stay valid. Streams
 * still need dirty_stream_close; one that has not ended fails with DIRTY_EINVALID. */
DIRTY_API void dirty_free(dirty_client *c);

/* The path of this client's socket. Borrowed from the client. */
DIRTY_API const char *dirty_socket(const dirty_client *c);

/* Write the default path to `out` (cap bytes; 108 are always enough): $DIRTY_SOCKET, else
 * $XDG_RUNTIME_DIR/dirty.sock, else /run/dirty/dirty.sock for root, else
 * /tmp/dirty-<uid>/dirty.sock. Returns 0, or DIRTY_EINVALID if it does not fit. */
DIRTY_API int dirty_default_socket(char *out, size_t cap);

/* -- Request ------------------------------------------------------------------------ */

/* One call with its arguments. Added bytes are borrowed, not copied: do not change or
 * free them until dirty_call returns, each time you call the request. A request can be
 * called any number of times. */
typedef struct dirty_request dirty_request;

/* Create a request. The names are copied. Returns 0, DIRTY_EMEMORY, or DIRTY_EINVALID for
 * a name that is not 1 to 255 bytes of printable ASCII without spaces. On failure *out is
 * NULL. App names that start with '@' are reserved for the runtime: calling such a
 * request fails with DIRTY_EDENIED and sends nothing. So app names may come from
 * untrusted sources. */
DIRTY_API int dirty_request_new(dirty_request **out, const char *app, const char *action);
DIRTY_API void dirty_request_free(dirty_request *r);

/* Create a request to the runtime itself, for instance its action "status" (see
 * docs/protocol.md). Returns as dirty_request_new does. */
DIRTY_API int dirty_request_new_arbiter(dirty_request **out, const char *action);

/* Reuse a request for another call: set new names, drop arguments and metadata, reset
 * priority and budget. Returns as dirty_request_new does. On failure the request is
 * unchanged. */
DIRTY_API int dirty_request_reset(dirty_request *r, const char *app, const char *action);
DIRTY_API int dirty_request_reset_arbiter(dirty_request *r, const char *action);

/* Add an argument: raw bytes (a Lua string at the other end), or the UTF-8 text of one
 * JSON value, which the server checks. Returns 0, DIRTY_EMEMORY, or DIRTY_EINVALID (more
 * than 65535 arguments, or more than 4 GiB).
 *
 * The request keeps a failure, and dirty_call reports it with a message that names the
 * argument. So you need not check each result. With r NULL these functions and dirty_call
 * return DIRTY_EINVALID. */
DIRTY_API int dirty_request_add_bytes(dirty_request *r, const void *data, size_t len);
DIRTY_API int dirty_request_add_json(dirty_request *r, const char *text, size_t len);

/* Add a NUL-terminated string (as bytes, borrowed), an integer, a number (NaN and
 * infinity: DIRTY_EINVALID), a boolean, or nil. Returns as above. */
DIRTY_API int dirty_request_add_string(dirty_request *r, const char *text);
DIRTY_API int dirty_request_add_integer(dirty_request *r, long long value);
DIRTY_API int dirty_request_add_number(dirty_request *r, double value);
DIRTY_API int dirty_request_add_boolean(dirty_request *r, int value);
DIRTY_API int dirty_request_add_nil(dirty_request *r);

/* Add arguments by a printf-like format. Blanks and commas between the conversions are
 * skipped:
 *
 *   %b  bytes: const void *, size_t      %d    int             %f  double
 *   %s  const char *, as bytes           %ld   long            %t  int, a boolean
 *   %j  const char *, JSON text          %lld  long long       %n  nil, no argument
 *
 *     dirty_request_addf(r, "%b %d %j", png, png_len, 256, "{\"crop\":true}");
 *
 * Returns 0, DIRTY_EMEMORY, or DIRTY_EINVALID (unknown conversion, NULL for %s or %j). */
DIRTY_API int dirty_request_addf(dirty_request *r, const char *format, ...);
DIRTY_API int dirty_request_vaddf(dirty_request *r, const char *format, va_list args);

/* Set the JSON value that the app gets as dirty.request.metadata. Borrowed like an
 * argument. text NULL: none. Returns 0 or DIRTY_EINVALID (over 4 GiB). */
DIRTY_API int dirty_request_set_metadata(dirty_request *r, const char *text, size_t len);

/* Set the priority: 0 (first) to 9 (last); the default is 5. Returns 0 or
 * DIRTY_EINVALID. */
DIRTY_API int dirty_request_set_priority(dirty_request *r, int priority);

/* Set the time limit of the whole call, in milliseconds. 0: the client's timeout_ms. */
DIRTY_API void dirty_request_set_budget_ms(dirty_request *r, uint32_t budget_ms);

/* -- Call --------------------------------------------------------------------------- */

/* A result: a list of values in its own memory. It stays valid after its client and
 * request are freed. */
typedef struct dirty_reply dirty_reply;

/* Make the call and wait for its result. The server gets the budget and answers within
 * it, with DIRTY_ETIMEOUT if necessary. If no answer comes, this returns DIRTY_ETIMEOUT
 * (phase "client") 2 s after the budget. Returns 0 with *out set, to be freed by
 * dirty_reply_free; or a negative code with *out NULL:
 *
 *   - any code of dirty_errors.h, as the server sent it;
 *   - DIRTY_ECONNECTION: nobody listens, the caller may not connect, or the connection
 *     was lost;
 *   - DIRTY_EOVERLOADED: the server accepted no connection within the budget;
 *   - DIRTY_EPROTOCOL: the answer is invalid; request or answer is over max_message; or
 *     the action streams, which a plain call can't receive;
 *   - DIRTY_EDENIED: also for an app name that starts with '@'; then nothing was sent;
 *   - DIRTY_EMEMORY: no memory in this process;
 *   - DIRTY_EINVALID: the request is invalid, or `out` is NULL.
 *
 * dirty_err_started tells whether the app may have run. A call that provably reached
 * nobody is sent once more on a new connection. No other call is ever repeated. */
DIRTY_API int dirty_call(dirty_client *c, const dirty_request *r, dirty_reply **out);

/* Build a request as dirty_request_addf does, call it and free it:
 *
 *   dirty_callf(c, &reply, "apps.image", "thumbnail", "%b %j", jpeg, len,
 *               "{\"width\":64}") */
DIRTY_API int dirty_callf(dirty_client *c, dirty_reply **out, const char *app,
                          const char *action, const char *format, ...);

/* The number of values, and value i (0 is the first). dirty_reply_value returns 'b' for
 * bytes or 'j' for JSON text (checked against RFC 8259), with *data and *len set; or 0 if
 * there is no value i. The bytes are borrowed from the reply. A NUL follows them, which
 * len does not count. */
#define DIRTY_BYTES 'b'
#define DIRTY_JSON 'j'
DIRTY_API size_t dirty_reply_count(const dirty_reply *reply);
DIRTY_API int dirty_reply_value(const dirty_reply *reply, size_t i, const char **data,
                                size_t *len);
DIRTY_API void dirty_reply_free(dirty_reply *reply);

/* -- Stream ------------------------------------------------------------------------- */

/* A call whose result comes in chunks. Each value, or list of values, that the app's
 * iterator returns is one chunk. An action that does not stream sends its values as one
 * chunk.
 *
 *     dirty_stream *s;
 *     int rc = dirty_stream_open(c, r, &s);
 *     while (rc == 0 && (rc = dirty_stream_next(s, &chunk)) > 0) {
 *         …
 *         dirty_reply_free(chunk);
 *         rc = 0;
 *     }
 *
 * The budget covers the whole stream. A slow reader makes the app wait. */
typedef struct dirty_stream dirty_stream;

/* Make the call and wait for its first chunk. A client has at most one open stream, and
 * no other call during it (DIRTY_EINVALID). The request and the bytes it borrows may be
 * freed when this returns. Returns 0 with *out set, to be closed by dirty_stream_close;
 * or a code, as dirty_call does. */
DIRTY_API int dirty_stream_open(dirty_client *c, const dirty_request *r,
                                dirty_stream **out);

/* Read the next chunk. Returns 1 with *chunk set, to be freed by dirty_reply_free; 0 at
 * the end; or a negative code with the client's failure set. Chunks received before a
 * failure stay valid. After the end or a failure it returns the same again, whatever has
 * been freed. DIRTY_ECANCELLED: the client was closed. DIRTY_EINVALID: the client was
 * freed, or the stream was opened before this process was forked. */
DIRTY_API int dirty_stream_next(dirty_stream *s, dirty_reply **chunk);

/* Close the stream. Before its end, this closes the client's connection, which cancels
 * the call; the next call connects again. The client may already be freed. */
DIRTY_API void dirty_stream_close(dirty_stream *s);

/* -- Event-driven client ------------------------------------------------------------- */

/* A client that never blocks, for a server with an event loop. It has one descriptor that
 * becomes readable when there is something to do. The descriptor is an epoll with all
 * connections and the timer, so it works in any loop:
 *
 *     dirty_async_open(&a, NULL);
 *     watch dirty_async_fd(a) for reading; when it is: dirty_async_ready(a);
 *     dirty_async_call(a, request, on_result, arg, NULL);
 *
 * dirty_uv.h does this for libuv. The client keeps a pool of connections. More calls than
 * connections wait in order, within their budget. Only one thread may use it. */
typedef struct dirty_async dirty_async;

typedef struct dirty_async_options {
    dirty_options client;     /* socket, timeout_ms, max_message */
    uint32_t max_connections; /* default 16; at least 1 */
    uint32_t max_waiting;     /* calls that may wait for a connection; default 1024 */
    void *reserved[6];        /* NULL */
} dirty_async_options;

DIRTY_API void dirty_async_options_init(dirty_async_options *options);

/* The result of a call. Everything is borrowed until the callback returns. */
typedef struct dirty_outcome {
    int err;            /* 0, or the error code */
    int more;           /* 1: this is a chunk of a stream; the callback will come again */
    dirty_reply *reply; /* the values; NULL at the end of a stream and after an error */
    const char *message; /* of an error, as dirty_errmsg and its siblings return them */
    size_t message_len;
    const char *details;
    const char *started;
} dirty_outcome;

/* Take ownership of the reply of an outcome. Free it with dirty_reply_free, also after
 * the client is freed. */
DIRTY_API dirty_reply *dirty_outcome_take(dirty_outcome *outcome);

/* Called exactly once for every accepted call. For a stream: once for each chunk with
 * `more` set, then once without. It may make, cancel and pause calls, and free the
 * client. */
typedef void (*dirty_async_cb)(dirty_async *a, dirty_outcome *outcome, void *arg);

/* Create an event-driven client. options NULL: all defaults. Returns 0, DIRTY_EMEMORY (no
 * memory or no descriptors), DIRTY_EINVALID (an option is out of range) or
 * DIRTY_ECONNECTION (the path is too long for a socket). *out is set even after a
 * failure, so that you can read the message; it is NULL only if there is no memory for
 * it. Free it with dirty_async_free. Calls of a client that failed to open fail with the
 * same message. */
DIRTY_API int dirty_async_open(dirty_async **out, const dirty_async_options *options);

/* Code and message of the last dirty_async_open, dirty_async_call or dirty_async_stream
 * of this client that was refused. 0 and "" if the last one was not refused. The result
 * of an accepted call goes to its callback. Borrowed until the next of these calls. With
 * a NULL: DIRTY_EMEMORY. */
DIRTY_API int dirty_async_err(const dirty_async *a);
DIRTY_API const char *dirty_async_errmsg(const dirty_async *a);

/* The descriptor to watch for reading. It never changes. -1: the client failed to
 * open. */
DIRTY_API int dirty_async_fd(const dirty_async *a);

/* Do all work that does not block, and call back. The work of one round is bounded: at
 * most 64 chunks of a stream; and a call made in a callback after a failure runs in the
 * next round. The descriptor stays readable while there is more to do. */
DIRTY_API void dirty_async_ready(dirty_async *a);

/* Queue a call. On success this takes ownership of the request and frees it after the
 * last callback; the bytes it borrows must stay until then. *ticket identifies the call;
 * ticket may be NULL. The callback never comes before this returns.
 *
 * Returns 0; or a code, and then the request still belongs to the caller and no callback
 * comes: DIRTY_EOVERLOADED (max_waiting calls wait), DIRTY_EMEMORY, DIRTY_EINVALID (the
 * request is invalid), DIRTY_EPROTOCOL (it is over max_message), DIRTY_EDENIED (the app
 * name starts with '@'). */
DIRTY_API int dirty_async_call(dirty_async *a, dirty_request *r, dirty_async_cb cb,
                               void *arg, uint64_t *ticket);

/* Same, for a call whose result comes in chunks. */
DIRTY_API int dirty_async_stream(dirty_async *a, dirty_request *r, dirty_async_cb cb,
                                 void *arg, uint64_t *ticket);

/* End a call now. Its callback comes with DIRTY_ECANCELLED before this returns. Returns
 * 0, or DIRTY_EINVALID if there is no such call or its last callback has come. */
DIRTY_API int dirty_async_cancel(dirty_async *a, uint64_t ticket);

/* Stop reading the chunks of a stream (paused 1), which makes the app wait, or continue
 * (0). Returns 0, or DIRTY_EINVALID if there is no such call. */
DIRTY_API int dirty_async_pause(dirty_async *a, uint64_t ticket, int paused);

/* The number of calls that have not ended. */
DIRTY_API size_t dirty_async_pending(const dirty_async *a);

/* End all calls with DIRTY_ECANCELLED, callbacks included, then free the client. Inside a
 * callback, the client is freed after that callback has returned. In a forked process
 * this frees only the copy: nothing is cancelled and nothing called back. Nothing else
 * may be done with the copy. */
DIRTY_API void dirty_async_free(dirty_async *a);

/* -- Spawning a runtime -------------------------------------------------------------- */

/* A runtime that this program starts for itself:
 *
 *     dirty_runtime *rt;
 *     dirty_spawn_options o;
 *     const char *const apps[] = {"apps.image:2", "apps.echo", NULL};
 *     dirty_spawn_options_init(&o);
 *     o.apps = apps;
 *     if (dirty_spawn(&rt, &o) < 0)
 *         fprintf(stderr, "%s\n", dirty_runtime_errmsg(rt));
 *     … clients with their option socket = dirty_runtime_socket(rt) …
 *     dirty_runtime_free(rt);
 *
 * All of its processes end when this program ends, in whatever way: by return, exit,
 * exec, a signal, kill -9. They do not end with the thread that called dirty_spawn. A
 * program that becomes a daemon must do so before it spawns, because its first process
 * ends on the way.
 *
 * The runtime is a child process: when it ends, this program gets a SIGCHLD. The program
 * may ignore that signal, and may wait for all its children with waitpid(-1). The library
 * needs neither. It installs no handler and starts no thread.
 *
 * Only one thread at a time may use a handle, and only in the process that spawned. In a
 * forked process only dirty_runtime_free is allowed; it does not affect the runtime. */
typedef struct dirty_runtime dirty_runtime;

typedef struct dirty_spawn_options {
    const char *program; /* the command: a path, or a name on $PATH; NULL: dirty */
    const char *config;  /* its configuration; NULL: dirty.conf.lua if it exists */
    const char *socket;  /* path; NULL: the one of the configuration, or the default */
    const char *const
        *apps; /* app specs, ended by NULL; NULL: those of the configuration */
    const char *const *args; /* more flags of `dirty serve`, ended by NULL; NULL: none */
    const char *directory;   /* its working directory; NULL: this program's */
    int log_fd;              /* gets its stdout and stderr; -1: this program's stderr */
    uint32_t start_timeout_ms; /* default 90000; at least 1 */
    void *reserved[8];         /* NULL */
} dirty_spawn_options;

DIRTY_API void dirty_spawn_options_init(dirty_spawn_options *options);

/* Start a runtime and wait until it serves. options NULL: all defaults. The child gets
 * this program's environment (without the variables of a service manager), default
 * signals, a session of its own, and no descriptors except stdin (empty), stdout and
 * stderr.
 *
 * *out is set even after a failure, so that you can read the message; it is NULL only if
 * there is no memory for it. Free it with dirty_runtime_free. After a failure nothing
 * runs. Returns 0, or:
 *
 *   - DIRTY_EINVALID: the program can't be run, or its flags or configuration are
 * invalid;
 *   - DIRTY_ECONNECTION: it can't listen at the socket; another runtime may have it;
 *   - DIRTY_EAPP: an app fails to load or start;
 *   - DIRTY_ETIMEOUT: it did not serve within start_timeout_ms, and was ended;
 *   - DIRTY_ENO_WORKERS: it ended before it served, for instance by a signal;
 *   - DIRTY_EMEMORY: lack of memory, descriptors or processes.
 *
 * The message contains the runtime's own: file, line and traceback of an app's error. */
DIRTY_API int dirty_spawn(dirty_runtime **out, const dirty_spawn_options *options);

/* The path of its socket. Borrowed from the runtime. */
DIRTY_API const char *dirty_runtime_socket(const dirty_runtime *rt);

/* Its process id, for people and their tools. 0 once its end was noticed. */
DIRTY_API int dirty_runtime_pid(const dirty_runtime *rt);

/* A descriptor that becomes readable when the runtime has ended. That happens only if it
 * is told to end (`dirty stop`, a signal) or killed. -1: not started. Borrowed. */
DIRTY_API int dirty_runtime_fd(const dirty_runtime *rt);

/* 1: it runs; 0: it has ended, and is reaped now. */
DIRTY_API int dirty_runtime_alive(dirty_runtime *rt);

/* Stop it. Accepted requests may finish within timeout_ms (and within the runtime's
 * graceful_timeout); then everything is ended at once. timeout_ms 0: at once. Waits for
 * the end, at most 13 s longer than timeout_ms. Returns 0 if it has ended, now or before;
 * DIRTY_ETIMEOUT if it was ended because the time was over; DIRTY_EINVALID if another
 * process spawned it. */
DIRTY_API int dirty_runtime_stop(dirty_runtime *rt, uint32_t timeout_ms);

/* Stop it at once if it runs, and free the handle. */
DIRTY_API void dirty_runtime_free(dirty_runtime *rt);

/* Code and message of the last dirty_spawn or dirty_runtime_stop. 0 and "" after a
 * success. Borrowed from the runtime. With rt NULL: DIRTY_EMEMORY. */
DIRTY_API int dirty_runtime_err(const dirty_runtime *rt);
DIRTY_API const char *dirty_runtime_errmsg(const dirty_runtime *rt);

/* -- The last failure ---------------------------------------------------------------- */

/* These describe the client's last dirty_open or call. All text is NUL-terminated and
 * borrowed until the next call. After a success: 0, "", "{}", "no". With c NULL
 * (dirty_open without memory): DIRTY_EMEMORY. */

DIRTY_API int dirty_err(const dirty_client *c);
/* The message of the server or the library: what failed, the value, and the remedy. */
DIRTY_API const char *dirty_errmsg(const dirty_client *c);
/* Its length: an app's message may contain NULs. */
DIRTY_API size_t dirty_errmsg_len(const dirty_client *c);
/* Text of a JSON object: started, phase, app, action, elapsed_ms, traceback, … */
DIRTY_API const char *dirty_err_details(const dirty_client *c);
/* Whether the app may have run: "no", "yes" or "unknown". */
DIRTY_API const char *dirty_err_started(const dirty_client *c);

/* Version of the library: "0.1.0". */
DIRTY_API const char *dirty_version(void);

#ifdef __cplusplus
}
#endif

#endif
