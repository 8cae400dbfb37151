/* handover: the protocol between a supervisor and its successor, the supervisor of a new
 * program that takes over the socket.
 *
 * The old one starts the new program with the variable DIRTY_HANDOVER_ENV:
 *
 *   PROTOCOL:CHANNEL:LISTEN:FILE:LOCK:LENT:NUMBER:VERSION:PATH
 *
 * CHANNEL is one end of a SOCK_SEQPACKET pair. LISTEN, FILE and LOCK are the descriptors
 * of base/endpoint.h, LOCK is -1 if LENT is 1. NUMBER counts the upgrades. VERSION is the
 * old one's, PATH the socket's. Messages are reports of base/report.h:
 *
 *   new   HELLO   within_ms: its DIRTY_HANDOVER_PROTOCOL; text: its version
 *   new   SAID*   pieces of its stderr, and the errors that it logs
 *   new   READY   its workers are ready; it does not accept yet
 *   old   GO      accept now
 *   new   TAKEN   it accepts; the files of the socket are its own from now on
 *
 * The layout of a report and HELLO stay as they are, so that different programs can tell
 * each other why they don't fit. The new one ends after a failure, which it has said. If
 * the old one ends without GO, the new one takes over when it is ready. */
#ifndef DIRTY_HANDOVER_H
#define DIRTY_HANDOVER_H

#define DIRTY_HANDOVER_ENV "DIRTY_HANDOVER"
#define DIRTY_HANDOVER_PROTOCOL 1

#endif
