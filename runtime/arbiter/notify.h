/* notify: sends the arbiter's state to the supervisor, and receives the supervisor's
 * reports (base/report.h). Without a supervisor every call does nothing, except that
 * notify_ready logs. */
#ifndef DIRTY_ARBITER_NOTIFY_H
#define DIRTY_ARBITER_NOTIFY_H

#include "arbiter/internal.h"
#include "base/report.h"

/* Send STARTED, then ALIVE at the interval that the supervisor wants. Listen for its
 * reports. Requires that signal handlers are installed. */
void notify_open(arbiter *a);

/* Send READY with a text for the log. Without a supervisor the text is logged here. */
void notify_ready(arbiter *a);

/* Send a report of this kind with a formatted text. */
void notify_tell(arbiter *a, dirty_report_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Send UPGRADE. `within_ms` limits the successor's start, 0: the supervisor's limit.
 * Returns 0 or -errno. */
int notify_upgrade(arbiter *a, uint32_t within_ms);

/* Send STOPPING with the time that the end may take. */
void notify_stopping(arbiter *a);

/* Stop sending ALIVE and receiving reports. Idempotent. */
void notify_close(arbiter *a);

#endif
