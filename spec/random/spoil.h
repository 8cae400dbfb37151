/* spoil: breaks one rule of the protocol in a request that keeps them all. */
#ifndef RANDOM_SPOIL_H
#define RANDOM_SPOIL_H

#include "spec/random/ask.h"

/* Choose a rule, break it in the frame of the ask (two arguments, the first one JSON),
 * and note what the server has to say to it. */
void spoil(ask *a, uint64_t *rng);

#endif
