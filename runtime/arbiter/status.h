/* status: the arbiter's state as JSON. */
#ifndef DIRTY_ARBITER_STATUS_H
#define DIRTY_ARBITER_STATUS_H

#include "arbiter/internal.h"
#include "base/buf.h"

/* Append the status object. What comes from lane pages is read once and bounded. */
void status_append(arbiter *a, dirty_buf *out);

/* Append one busy lane with its traceback, null where it is not there yet; then ask for
 * it. `anew`: forget the one that is there, it may be old. */
void status_append_stack(lane *l, bool anew, dirty_buf *out);

#endif
