/* service: the reserved app "@arbiter", answered by the arbiter itself.
 *
 *   status   a JSON object with the state of everything (docs/cli.md shows it)
 *   stop     end gracefully; for root and the socket's owner, else DENIED */
#ifndef DIRTY_ARBITER_SERVICE_H
#define DIRTY_ARBITER_SERVICE_H

#include "arbiter/session.h"

/* Answer a whole request to a reserved app. */
void service_answer(session *s, dirty_slice app_name);

#endif
