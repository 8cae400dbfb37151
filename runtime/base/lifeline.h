/* lifeline: what dirty_spawn and the runtime that it starts agree on.
 *
 * The program that starts the runtime keeps one end of a SOCK_SEQPACKET pair, the runtime
 * gets the other as descriptor DIRTY_LIFELINE_FD. Nothing is sent to the runtime: the end
 * of input is the end of its owner. The runtime sends messages of base/report.h until it
 * serves:
 *
 *   SAID*  what it says on stderr, piece by piece, and the errors that it logs
 *   READY  it serves, at the socket `text`: the last message
 *   ENDED  or it ends, with exit status `within_ms`: the last message
 *
 * The end of input fails where a child of the owner has a copy of the owner's end, so the
 * variable DIRTY_LIFELINE_ENV has the owner's process id, which is watched too. */
#ifndef DIRTY_LIFELINE_H
#define DIRTY_LIFELINE_H

#define DIRTY_LIFELINE_ENV "DIRTY_LIFELINE"
#define DIRTY_LIFELINE_FD 3

#endif
