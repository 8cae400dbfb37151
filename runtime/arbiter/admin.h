/* admin: the reserved app "@arbiter", answered by the arbiter itself.
 *
 *   status          a JSON object with the state of everything
 *   metrics         Prometheus text, as bytes
 *   ping            the arbiter's process id
 *
 * Only for the users in the option admin_users, by default root and the socket's owner.
 * Others get DENIED:
 *
 *   stop [HOW]      stop the runtime; HOW is "graceful" or "now"
 *   reload          load the configuration again;
 *                   returns {"reload": its number in status}
 *   scale N|+N|-N   set the number of workers, or change it by N;
 *                   returns {"workers": N}
 *   kill W          kill the worker of slot W by SIGKILL; returns {"pid": its pid}
 *   cancel W[.L]    cancel the call of lane L (default 0) of worker W;
 *                   returns true if one ran
 *   reopen_logs     reopen the log in every process of the runtime
 *   stack ["read"]  list the busy lanes with Lua tracebacks, null until they have come.
 *                   "read" returns the tracebacks that have come.
 *                   Without "read" all are requested again.
 *
 * A wrong argument gives an APP error that describes the expected argument. */
#ifndef DIRTY_ARBITER_ADMIN_H
#define DIRTY_ARBITER_ADMIN_H

#include "arbiter/conn.h"

/* Answer a whole request to a reserved app. */
void admin_answer(conn *c, dirty_slice app_name);

#endif
