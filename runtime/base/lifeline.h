/* lifeline: the protocol between dirty_spawn and the runtime that it starts.
 *
 * The spawner keeps one end of a SOCK_SEQPACKET pair. The runtime gets the other end as
 * descriptor DIRTY_LIFELINE_FD, and only its supervisor keeps it. Nothing is sent to the
 * runtime. End of input tells either side that the other one has ended. The runtime sends
 * messages of base/report.h:
 *
 *   SAID*   until it serves: pieces of its stderr, and the errors it logs
 *   READY   it serves; `text` is the path of the socket
 *   ENDED   it ends; `within_ms` is the exit status
 *
 * A child of the spawner may hold a copy of the spawner's end, which delays end of input.
 * So the variable DIRTY_LIFELINE_ENV holds the spawner's process id, which the supervisor
 * watches as well. */
#ifndef DIRTY_LIFELINE_H
#define DIRTY_LIFELINE_H

#define DIRTY_LIFELINE_ENV "DIRTY_LIFELINE"
#define DIRTY_LIFELINE_FD 3

#endif
