/* notify: reports the arbiter's state to the supervisor, and takes the supervisor's
 * reports (base/report.h). Without a supervisor every call does nothing. */
#ifndef DIRTY_ARBITER_NOTIFY_H
#define DIRTY_ARBITER_NOTIFY_H

#include "arbiter/internal.h"
#include "base/report.h"

/* Say STARTED, and ALIVE from time to time where the supervisor wants it; listen to it.
 * Signals must have their handlers by now. */
void notify_open(arbiter *a);

/* READY, with what the log says of it. Without a supervisor that is logged here. */
void notify_ready(arbiter *a);

/* Say it, with a text made from `format`. */
void notify_tell(arbiter *a, dirty_report_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* STOPPING, with the time the end may take. */
void notify_stopping(arbiter *a);

/* Say nothing regularly any more, and hear nothing. Idempotent. */
void notify_close(arbiter *a);

#endif
