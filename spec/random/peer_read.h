/* peer_read: reads what a server sends on a connection, and has it judged. */
#ifndef RANDOM_PEER_READ_H
#define RANDOM_PEER_READ_H

#include "spec/random/peer.h"

void peer_read(peer *p, uint64_t now_ns);

/* When the answer to the ask in hand has to be there. */
uint64_t peer_answer_due_ns(const peer *p, const ask *a);

#endif
