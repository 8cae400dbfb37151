/* dirty.h: libdirty, the client of a lua-dirty runtime.
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
 * Calls return 0, or a negative code DIRTY_E… whose story the client then tells
 * (dirty_err, dirty_errmsg, …) until its next call. The library keeps no global state,
 * never prints, raises no signal and touches no signal handler. All functions that end
 * something take NULL.
 *
 * Whatever was made may be ended in any order: requests, replies, clients, their streams,
 * the runtime they call. Nothing keeps anything else alive or waits for it. What is used
 * after something it needs has ended tells so by a code.
 *
 * Threads and processes: a client belongs to one thread at a time; several clients are
 * independent of each other. In a forked process a client goes on with a connection of
 * its own; an open stream and an event-driven client stay their process's, in the child
 * they can only be closed or freed, which ends nothing for the parent. */
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

/* "TIMEOUT" for DIRTY_ETIMEOUT, "OK" for 0, "UNKNOWN" for a code this version does not
 * know (a newer server's). */
DIRTY_API const char *dirty_err_name(int err);
/* One line for people: what the code means in general. */
DIRTY_API const char *dirty_strerror(int err);
/* The HTTP status that a server would answer: 504 for DIRTY_ETIMEOUT, 200 for 0. */
DIRTY_API int dirty_err_http_status(int err);

/* -- Client ------------------------------------------------------------------------- */

typedef struct dirty_client dirty_client;

/* Set by dirty_options_init, then changed by name: fields may be added. */
typedef struct dirty_options {
    const char *socket;   /* path of the runtime's socket, copied; NULL: the default */
    uint32_t timeout_ms;  /* budget of a call that sets none: 30000; at least 1 */
    uint32_t max_message; /* payload bytes of a request or a reply, at most: 64 MiB */
    void *reserved[8];    /* NULL */
} dirty_options;

DIRTY_API void dirty_options_init(dirty_options *options);

/* Make a client; options NULL: all defaults. It connects with its first call and keeps
 * the connection. *out is set even when this fails, so that the reason can be read, and
 * wants dirty_free; it is NULL only if there is no memory for it. 0, DIRTY_ECONNECTION
 * (the path is too long for a socket), DIRTY_EINVALID (an option out of range) or
 * DIRTY_EMEMORY. Calls of a client that failed to open fail with the same words. */
DIRTY_API int dirty_open(dirty_client **out, const dirty_options *options);

/* End the connection, and with it an open stream, which then fails with DIRTY_ECANCELLED.
 * The client stays good: its next call connects again. */
DIRTY_API void dirty_close(dirty_client *c);

/* End the connection and the client. Requests and replies live on, and streams want their
 * dirty_stream_close still; one that has not come to its end fails with DIRTY_EINVALID.
 */
DIRTY_API void dirty_free(dirty_client *c);

/* The path of the socket this client speaks to. Borrowed from the client. */
DIRTY_API const char *dirty_socket(const dirty_client *c);

/* Write the default path to `out` (cap bytes, 108 are always enough): $DIRTY_SOCKET, else
 * $XDG_RUNTIME_DIR/dirty.sock, else /run/dirty/dirty.sock for root, else
 * /tmp/dirty-<uid>/dirty.sock. 0, or DIRTY_EINVALID if it does not fit. */
DIRTY_API int dirty_default_socket(char *out, size_t cap);

/* -- Request ------------------------------------------------------------------------ */

/* One call to make, with its arguments. Bytes that are added are borrowed, not copied:
 * they must stay as they are until dirty_call returns (and again for each further call
 * with the same request). A request can be called any number of times. */
typedef struct dirty_request dirty_request;

/* Names are copied. 0, DIRTY_EMEMORY, or DIRTY_EINVALID for a name that is not 1 to 255
 * bytes of printable ASCII without spaces (*out is NULL in both cases). An app's name
 * that starts with '@' is the runtime's own: its calls fail with DIRTY_EDENIED, unsent,
 * so that names may come from whom they like. */
DIRTY_API int dirty_request_new(dirty_request **out, const char *app, const char *action);
DIRTY_API void dirty_request_free(dirty_request *r);

/* A request to the runtime itself: its action "status", say (docs/protocol.md has them).
 * Returns as dirty_request_new does. */
DIRTY_API int dirty_request_new_arbiter(dirty_request **out, const char *action);

/* Make it another call: new names, no arguments, no metadata, default priority and
 * budget. Returns as dirty_request_new does; on failure the request is as it was. */
DIRTY_API int dirty_request_reset(dirty_request *r, const char *app, const char *action);
DIRTY_API int dirty_request_reset_arbiter(dirty_request *r, const char *action);

/* Add an argument: raw bytes (a Lua string at the other end), or the UTF-8 text of one
 * JSON value, which the server checks. 0, DIRTY_EMEMORY, or DIRTY_EINVALID (more than
 * 65535 arguments, more than 4 GiB). A failure is remembered: dirty_call reports it, so
 * the returns need not be looked at one by one, with words: which argument, what it was.
 * With r NULL all of these return DIRTY_EINVALID, and so does dirty_call. */
DIRTY_API int dirty_request_add_bytes(dirty_request *r, const void *data, size_t len);
DIRTY_API int dirty_request_add_json(dirty_request *r, const char *text, size_t len);

/* Add a NUL-terminated string (as bytes, borrowed), a whole number, a number (no NaN or
 * infinity: DIRTY_EINVALID), a boolean, or nil. Returns as above. */
DIRTY_API int dirty_request_add_string(dirty_request *r, const char *text);
DIRTY_API int dirty_request_add_integer(dirty_request *r, long long value);
DIRTY_API int dirty_request_add_number(dirty_request *r, double value);
DIRTY_API int dirty_request_add_boolean(dirty_request *r, int value);
DIRTY_API int dirty_request_add_nil(dirty_request *r);

/* Add arguments by a format, in the manner of printf; blanks and commas between the
 * conversions are skipped:
 *
 *   %b  bytes: const void *, size_t      %d    int             %f  double
 *   %s  const char *, as bytes           %ld   long            %t  int, a boolean
 *   %j  const char *, JSON text          %lld  long long       %n  nil, no argument
 *
 *     dirty_request_addf(r, "%b %d %j", png, png_len, 256, "{\"crop\":true}");
 *
 * 0, DIRTY_EMEMORY, or DIRTY_EINVALID (another conversion, NULL for %s or %j). */
DIRTY_API int dirty_request_addf(dirty_request *r, const char *format, ...);
DIRTY_API int dirty_request_vaddf(dirty_request *r, const char *format, va_list args);

/* The JSON value that reaches the app as dirty.request.metadata. Borrowed like an
 * argument; text NULL: none. 0 or DIRTY_EINVALID (over 4 GiB). */
DIRTY_API int dirty_request_set_metadata(dirty_request *r, const char *text, size_t len);

/* 0 (first) to 9 (last), 5 by default. 0 or DIRTY_EINVALID. */
DIRTY_API int dirty_request_set_priority(dirty_request *r, int priority);

/* How long the call may take, over all, in milliseconds; 0: the client's timeout_ms. */
DIRTY_API void dirty_request_set_budget_ms(dirty_request *r, uint32_t budget_ms);

/* -- Call --------------------------------------------------------------------------- */

/* What came back: a list of values in memory of its own. It outlives client and request,
 * and anybody may free it. */
typedef struct dirty_reply dirty_reply;

/* Make the call and wait for its result. The server is told the budget and answers within
 * it, with DIRTY_ETIMEOUT if need be; should no answer come, this returns DIRTY_ETIMEOUT
 * (phase "client") 2 s after the budget. 0 with *out set, which wants dirty_reply_free,
 * or a negative code with *out NULL:
 *
 *   - any code of dirty_errors.h, as the server sent it;
 *   - DIRTY_ECONNECTION: nobody listens, the caller may not connect, or it was lost;
 *   - DIRTY_EOVERLOADED: the server accepted no connection within the budget;
 *   - DIRTY_EPROTOCOL: what came is no answer to this call, or is over max_message, as
 * the request may be; or the action streams, which a plain call can't take;
 *   - DIRTY_EDENIED: also for an app's name that starts with '@', nothing was sent;
 *   - DIRTY_EMEMORY: no memory in this process;
 *   - DIRTY_EINVALID: the request failed when it was built.
 *
 * Whether the app may have run is told by dirty_err_started. A call that provably reached
 * nobody is sent once more on a fresh connection; no other is ever repeated. */
DIRTY_API int dirty_call(dirty_client *c, const dirty_request *r, dirty_reply **out);

/* The same in one line, with arguments as dirty_request_addf takes them:
 *     dirty_callf(c, &reply, "apps.image", "thumbnail", "%b %j", jpeg, len,
 * "{\"width\":64}")
 */
DIRTY_API int dirty_callf(dirty_client *c, dirty_reply **out, const char *app,
                          const char *action, const char *format, ...);

/* How many values there are, and value i (0 is the first): returns 'b' for bytes, 'j' for
 * JSON text (of RFC 8259: it was looked at), with *data and *len set, or 0 if there is no
 * value i. The bytes are borrowed from the reply and followed by a NUL that len does not
 * count. */
#define DIRTY_BYTES 'b'
#define DIRTY_JSON 'j'
DIRTY_API size_t dirty_reply_count(const dirty_reply *reply);
DIRTY_API int dirty_reply_value(const dirty_reply *reply, size_t i, const char **data,
                                size_t *len);
DIRTY_API void dirty_reply_free(dirty_reply *reply);

/* -- Stream ------------------------------------------------------------------------- */

/* A call whose result comes in pieces: each value that the app's iterator gives, or list
 * of values, is a chunk. An action that does not stream gives its values as one chunk.
 *
 *     dirty_stream *s;
 *     int rc = dirty_stream_open(c, r, &s);
 *     while (rc == 0 && (rc = dirty_stream_next(s, &chunk)) > 0) {
 *         …
 *         dirty_reply_free(chunk);
 *         rc = 0;
 *     }
 *
 * The budget covers the whole stream. A reader that is slow makes the app wait. */
typedef struct dirty_stream dirty_stream;

/* Make the call and wait for its first chunk. The client has one stream at a time and no
 * other call beside it (DIRTY_EINVALID). Request and what it borrows need not stay once
 * this has returned. 0 with *out set, which wants dirty_stream_close, or as dirty_call.
 */
DIRTY_API int dirty_stream_open(dirty_client *c, const dirty_request *r,
                                dirty_stream **out);

/* 1 with the next chunk in *chunk, which wants dirty_reply_free; 0 at the end; or a
 * negative code, told by the client: chunks that came before it stay good. After the end
 * or a failure it returns the same again, whatever has been freed. DIRTY_ECANCELLED: the
 * client was closed; DIRTY_EINVALID: the client was freed, or the stream was opened
 * before this process was forked. */
DIRTY_API int dirty_stream_next(dirty_stream *s, dirty_reply **chunk);

/* Leave the stream. Before its end this closes the client's connection, which cancels the
 * call; the next call opens another. The client may be gone by then. */
DIRTY_API void dirty_stream_close(dirty_stream *s);

/* -- Event-driven client --------------------------------------------------------------
 */

/* A client that never waits, for a server with an event loop. It is one descriptor that
 * becomes readable when there is something to do (an epoll of its own inside holds its
 * connections and its timer), so it fits any loop:
 *
 *     dirty_async_open(&a, NULL);
 *     watch dirty_async_fd(a) for reading; when it is: dirty_async_ready(a);
 *     dirty_async_call(a, request, on_result, arg, NULL);
 *
 * dirty_uv.h does this for libuv. It keeps a pool of connections; calls beyond it wait in
 * order, within their budget. It belongs to one thread. */
typedef struct dirty_async dirty_async;

typedef struct dirty_async_options {
    dirty_options client;     /* socket, timeout_ms, max_message */
    uint32_t max_connections; /* 16; at least 1 */
    uint32_t max_waiting;     /* calls that wait for a connection: 1024 */
    void *reserved[6];        /* NULL */
} dirty_async_options;

DIRTY_API void dirty_async_options_init(dirty_async_options *options);

/* What became of a call. Everything is borrowed until the callback returns. */
typedef struct dirty_outcome {
    int err;             /* 0, or the code of what went wrong */
    int more;            /* 1: this is a chunk of a stream, the callback comes again */
    dirty_reply *reply;  /* the values; NULL at the end of a stream and with an error */
    const char *message; /* of an error, as dirty_errmsg and its like tell it */
    size_t message_len;
    const char *details;
    const char *started;
} dirty_outcome;

/* Take the reply of an outcome: it is the caller's to free, also after the client. */
DIRTY_API dirty_reply *dirty_outcome_take(dirty_outcome *outcome);

/* Comes exactly once for every call that was accepted (for a stream: once for each chunk
 * with `more` set, then once without). It may make, cancel and pause calls, and free the
 * client. */
typedef void (*dirty_async_cb)(dirty_async *a, dirty_outcome *outcome, void *arg);

/* options NULL: all defaults. 0, or: DIRTY_EMEMORY (no memory or no descriptors),
 * DIRTY_EINVALID (an option out of range), DIRTY_ECONNECTION (the path is too long for a
 * socket). *out is set even then, so that the reason can be read, and wants
 * dirty_async_free; it is NULL only if there is no memory for it. Its calls fail with the
 * same words. */
DIRTY_API int dirty_async_open(dirty_async **out, const dirty_async_options *options);

/* Why the last dirty_async_open, dirty_async_call or dirty_async_stream of this client
 * was refused: code and words. After one that was not: 0 and "". What became of an
 * accepted call is told to its callback. Borrowed until the next of them; a NULL:
 * DIRTY_EMEMORY. */
DIRTY_API int dirty_async_err(const dirty_async *a);
DIRTY_API const char *dirty_async_errmsg(const dirty_async *a);

/* The descriptor to watch for reading. It stays the same. -1: the client did not open. */
DIRTY_API int dirty_async_fd(const dirty_async *a);

/* Do what can be done without waiting, with callbacks. Bounded: at most 64 chunks of a
 * stream, and calls that fail and are made again in their callback run in the next round.
 * The descriptor stays readable while there is more. */
DIRTY_API void dirty_async_ready(dirty_async *a);

/* Queue a call. Takes the request over and frees it after the last callback; bytes that
 * it borrows must stay until then. *ticket (may be NULL) names the call. The callback
 * never comes before this returns. 0; or, with the request still the caller's and no
 * callback: DIRTY_EOVERLOADED (max_waiting calls wait), DIRTY_EMEMORY, DIRTY_EINVALID
 * (the request failed when it was built), DIRTY_EPROTOCOL (it is over max_message),
 * DIRTY_EDENIED (the app's name starts with '@'). */
DIRTY_API int dirty_async_call(dirty_async *a, dirty_request *r, dirty_async_cb cb,
                               void *arg, uint64_t *ticket);

/* The same for a call whose result comes in pieces. */
DIRTY_API int dirty_async_stream(dirty_async *a, dirty_request *r, dirty_async_cb cb,
                                 void *arg, uint64_t *ticket);

/* End a call now: its callback comes, with DIRTY_ECANCELLED, before this returns. 0, or
 * DIRTY_EINVALID: no such call, its last callback has come. */
DIRTY_API int dirty_async_cancel(dirty_async *a, uint64_t ticket);

/* Stop reading the chunks of a stream (paused 1), so that the app has to wait, or go on
 * (0). 0, or DIRTY_EINVALID: no such call. */
DIRTY_API int dirty_async_pause(dirty_async *a, uint64_t ticket, int paused);

/* Calls that have not ended. */
DIRTY_API size_t dirty_async_pending(const dirty_async *a);

/* End all calls with DIRTY_ECANCELLED, callbacks included, then the client. From inside a
 * callback it is freed once that has returned. In a forked process, where nothing else
 * can be done with it, only the copy ends: nothing is cancelled, nothing called back. */
DIRTY_API void dirty_async_free(dirty_async *a);

/* -- A runtime of one's own -----------------------------------------------------------
 */

/* A runtime that this program starts and owns, where nobody else has started one:
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
 * All of its processes end with this one, in whatever way that ends: by return, exit,
 * exec, a signal, kill -9. They do not end with the thread that called dirty_spawn. A
 * program that becomes a daemon does so first: its first process ends on the way.
 *
 * The runtime is a child process: at its end this program gets a SIGCHLD, as for any
 * child. It may ignore that, and may wait for all its children by waitpid(-1): the
 * library does without. No handler is installed and no thread started.
 *
 * A handle belongs to one thread at a time, and to the process that spawned: in a forked
 * one all that may be done with it is dirty_runtime_free, which lets the runtime be. */
typedef struct dirty_runtime dirty_runtime;

typedef struct dirty_spawn_options {
    const char *program; /* the command: a path, or looked for on $PATH; NULL: dirty */
    const char *config;  /* path of its configuration; NULL: dirty.conf.lua if there */
    const char *socket;  /* path; NULL: what the configuration says, or the default */
    const char *const
        *apps; /* specs, the last one NULL; NULL: those of the configuration */
    const char *const
        *args; /* more flags of `dirty serve`, the last one NULL; NULL: none */
    const char *directory; /* where it runs; NULL: where this program does */
    int log_fd;            /* takes its stdout and stderr; -1: this program's stderr */
    uint32_t start_timeout_ms; /* 90000; at least 1 */
    void *reserved[8];         /* NULL */
} dirty_spawn_options;

DIRTY_API void dirty_spawn_options_init(dirty_spawn_options *options);

/* Start a runtime and wait until it serves. options NULL: all defaults. The child has
 * this program's environment (without what a service manager put there), default signals,
 * a session of its own, and no descriptor but stdin (empty), stdout and stderr.
 *
 * *out is set even when this fails, so that the reason can be read, and wants
 * dirty_runtime_free; it is NULL only if there is no memory for it. After a failure
 * nothing runs. 0, or:
 *
 *   - DIRTY_EINVALID: the program can't be run, or refuses its flags or configuration;
 *   - DIRTY_ECONNECTION: the socket can't be had, another runtime may have it;
 *   - DIRTY_EAPP: an app fails to load or start;
 *   - DIRTY_ETIMEOUT: it did not serve within start_timeout_ms, and was ended;
 *   - DIRTY_ENO_WORKERS: it ended before it served, by a signal, say;
 *   - DIRTY_EMEMORY: memory, descriptors or processes are lacking.
 *
 * The message has the words of the runtime: file, line and traceback of an app's error.
 */
DIRTY_API int dirty_spawn(dirty_runtime **out, const dirty_spawn_options *options);

/* The path of the socket where it serves. Borrowed from the runtime. */
DIRTY_API const char *dirty_runtime_socket(const dirty_runtime *rt);

/* Its process id, for people and their tools; 0 once it has been seen to have ended. */
DIRTY_API int dirty_runtime_pid(const dirty_runtime *rt);

/* A descriptor that is readable when the runtime has ended, which it does by itself only
 * if it is told to (`dirty stop`, a signal) or killed. -1: none was started. Borrowed. */
DIRTY_API int dirty_runtime_fd(const dirty_runtime *rt);

/* 1: it runs; 0: it has ended, and is reaped now. */
DIRTY_API int dirty_runtime_alive(dirty_runtime *rt);

/* Stop it: what was accepted may finish for timeout_ms (and for its graceful_timeout),
 * then everything is ended at once; with 0 at once from the start. Waits for the end, up
 * to 13 s longer than timeout_ms. 0: it has ended, by this or before; DIRTY_ETIMEOUT: it
 * has ended because time was over; DIRTY_EINVALID: it is not this process's. */
DIRTY_API int dirty_runtime_stop(dirty_runtime *rt, uint32_t timeout_ms);

/* Stop it at once if it runs, and end the handle. */
DIRTY_API void dirty_runtime_free(dirty_runtime *rt);

/* Why the last dirty_spawn or dirty_runtime_stop failed: its code and words for people.
 * 0 and "" after a success. Borrowed from the runtime; rt may be NULL: DIRTY_EMEMORY. */
DIRTY_API int dirty_runtime_err(const dirty_runtime *rt);
DIRTY_API const char *dirty_runtime_errmsg(const dirty_runtime *rt);

/* -- The story of the last failure ---------------------------------------------------- *
 * Of this client's last dirty_open or dirty_call. All text is borrowed until the next
 * one, and NUL-terminated. After a success: 0, "", "{}", "no". c may be NULL (what
 * dirty_open leaves without memory): DIRTY_EMEMORY. */

DIRTY_API int dirty_err(const dirty_client *c);
/* The server's words, or the library's: what failed, the value and the remedy. */
DIRTY_API const char *dirty_errmsg(const dirty_client *c);
/* Bytes of it: an app's message may hold NULs. */
DIRTY_API size_t dirty_errmsg_len(const dirty_client *c);
/* Text of a JSON object: started, phase, app, action, elapsed_ms, traceback, … */
DIRTY_API const char *dirty_err_details(const dirty_client *c);
/* May the app have run? "no", "yes" or "unknown". */
DIRTY_API const char *dirty_err_started(const dirty_client *c);

/* Version of the library: "0.1.0". */
DIRTY_API const char *dirty_version(void);

#ifdef __cplusplus
}
#endif

#endif
