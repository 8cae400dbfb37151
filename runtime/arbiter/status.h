/* status: the arbiter's state as JSON. */
#ifndef DIRTY_ARBITER_STATUS_H
#define DIRTY_ARBITER_STATUS_H

#include "arbiter/internal.h"
#include "base/buf.h"

/* Append the status object. Values from lane pages are read only once and bounded,
 * because apps can change them. */
void status_append(arbiter *a, dirty_buf *out);

/* Append one busy lane with its traceback, null if it has not come yet, then ask for
 * it. `anew`: discard an existing traceback, which may be old. */
void status_append_stack(lane *l, bool anew, dirty_buf *out);

#endif
