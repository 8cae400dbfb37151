/* peer_send: sends what the script of a connection has to send by now. */
#ifndef RANDOM_PEER_SEND_H
#define RANDOM_PEER_SEND_H

#include "spec/random/peer.h"

void peer_send(peer *p, uint64_t now_ns);

/* When peer_send has something to do, UINT64_MAX: not before something else happens. */
uint64_t peer_send_due_ns(const peer *p);

#endif
