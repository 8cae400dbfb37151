/* dirty_errors.h: the list of error codes of lua-dirty.
 *
 * It defines the C enum in dirty.h, the names and texts of dirty_err_name() and
 * dirty_strerror(), the numbers on the wire (docs/protocol.md), the Lua codes, and the
 * table in docs/errors.md. Codes are stable: a number is never reused.
 *
 *   X(name, wire number, HTTP status a server would answer,
 *     started: whether the app may have run ("no", "yes", "unknown", "varies"),
 *     retry: whether it is safe to send the same request again ("yes", "no", "depends"),
 *     text: one line for people) */
#ifndef DIRTY_ERRORS_H
#define DIRTY_ERRORS_H

#define DIRTY_ERRORS(X)                                                               \
    X(TIMEOUT, 1, 504, "varies", "depends", "the deadline passed")                    \
    X(CONNECTION, 2, 502, "unknown", "depends", "the connection failed or was lost")  \
    X(APP, 3, 500, "yes", "no", "the app raised an error or returned nil, err")       \
    X(APP_NOT_FOUND, 4, 404, "no", "no", "no app of this name is served")             \
    X(ACTION_NOT_FOUND, 5, 404, "no", "no", "the app has no action of this name")     \
    X(NO_WORKERS, 6, 503, "no", "yes", "no worker that hosts the app is available")   \
    X(OVERLOADED, 7, 503, "no", "yes", "a queue or a limit is full")                  \
    X(WORKER_LOST, 8, 502, "varies", "depends", "the worker died before it answered") \
    X(CANCELLED, 9, 499, "varies", "depends", "the call was cancelled")               \
    X(SHUTDOWN, 10, 503, "varies", "depends", "the runtime or worker had to end")     \
    X(PROTOCOL, 11, 502, "no", "no", "the peer broke the wire protocol or a limit")   \
    X(DENIED, 12, 403, "no", "no", "the caller is not allowed to do this")            \
    X(MEMORY, 13, 500, "yes", "no", "the call went over the memory limit of its lane")

#endif
