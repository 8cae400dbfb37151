/* hangup_watch: tells when the peer of a busy connection hangs up, and nothing else.
 *
 * libuv can't watch for a hang-up alone. UV_PRIORITIZED comes near, but a unix socket
 * reports it with every byte of input, so the arbiter would wake for each early byte.
 * This is an epoll of its own within libuv's: with no event asked for, and
 * edge-triggered, it reports EPOLLHUP and EPOLLERR only, and is silent at a half-close. A
 * connection stays in it from its first use to its end. */
#ifndef DIRTY_ARBITER_HANGUP_WATCH_H
#define DIRTY_ARBITER_HANGUP_WATCH_H

#include "arbiter/internal.h"

/* `hung_up` is called once for each hang-up. Returns 0 or a negative code. */
int hangup_watch_open(arbiter *a, void (*hung_up)(conn *c));
void hangup_watch_close(arbiter *a);

/* Watch the connection until hangup_watch_remove. Idempotent. A hang-up in the past is
 * reported too. */
void hangup_watch_add(conn *c);

/* Call it before the descriptor is closed. Idempotent. */
void hangup_watch_remove(conn *c);

#endif
