/* recent: the last calls that failed or were slow, of all lanes and of the arbiter
 * itself, as JSON (for `dirty tail`).
 *
 * A lane notes the calls that it answers (base/recent_calls.h). The arbiter notes those
 * that it answers, and keeps what a worker had noted that has ended. */
#ifndef DIRTY_ARBITER_RECENT_H
#define DIRTY_ARBITER_RECENT_H

#include "arbiter/internal.h"
#include "base/buf.h"
#include "wire/code.h"

/* At most so many calls are told at a time. */
#define RECENT_MOST 200

/* Note an error that the arbiter answers. `started`: the app may have run. */
void recent_note(arbiter *a, const request *r, dirty_code code, bool started,
                 const char *message);

/* Keep what the lane has noted. Call it before the lane's page is unmapped. */
void recent_keep(const lane *l);

/* Append {"now","calls"}: the newest `most` calls that ended after `after_s`, a time in
 * seconds since 1970, the oldest first. `most` is RECENT_MOST or less. */
void recent_append(const arbiter *a, double after_s, uint32_t most, dirty_buf *out);

#endif
