/* lifeline: what dirty_spawn and the runtime that it starts agree on.
 *
 * The program that starts the runtime keeps one end of a SOCK_SEQPACKET pair, the runtime
 * gets the other as descriptor DIRTY_LIFELINE_FD, and of its processes the supervisor
 * alone keeps it. Nothing is sent to the runtime. To either side the end of input is the
 * end of the other. The runtime sends messages of base/report.h:
 *
 *   SAID*  until it serves: what it says on stderr, piece by piece, and the errors it
 * logs READY  it serves, at the socket `text` ENDED  it ends, with exit status
 * `within_ms`
 *
 * A child of the owner may have a copy of the owner's end, and hold up the end of input.
 * So the variable DIRTY_LIFELINE_ENV has the owner's process id, which is watched too. */
#ifndef DIRTY_LIFELINE_H
#define DIRTY_LIFELINE_H

#define DIRTY_LIFELINE_ENV "DIRTY_LIFELINE"
#define DIRTY_LIFELINE_FD 3

#endif
