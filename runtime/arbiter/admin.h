/* admin: the reserved app "@arbiter", answered by the arbiter itself.
 *
 *   status          a JSON object with the state of everything
 *   metrics         Prometheus text, as bytes
 *   ping            the arbiter's process id
 *
 * and for those whom the option admin_users names, by default root and the socket's
 * owner, else DENIED:
 *
 *   stop [HOW]      "graceful" or "now"
 *   reload          reload to the configuration as it is now
 *                   {"reload": its number in status}
 *   scale N|+N|-N   so many workers, or so many more or less; {"workers": N}
 *   kill W          the worker of slot W, by SIGKILL; {"pid": it}
 *   cancel W[.L]    the call that lane L (0) of worker W runs; true if one ran
 *   reopen_logs     in every process of the runtime
 *   stack ["read"]  a list of the busy lanes, their Lua tracebacks null until they have
 *                   come: "read" a little later tells them, without it all are asked anew
 *
 * A wrong argument is an APP error that says what it takes. */
#ifndef DIRTY_ARBITER_ADMIN_H
#define DIRTY_ARBITER_ADMIN_H

#include "arbiter/conn.h"

/* Answer a whole request to a reserved app. */
void admin_answer(conn *c, dirty_slice app_name);

#endif
