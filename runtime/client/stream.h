/* stream: a call whose result comes in pieces. dirty.h tells what it does. */
#ifndef DIRTY_CLIENT_STREAM_H
#define DIRTY_CLIENT_STREAM_H

#include "dirty.h"

/* The client ends its connection: the open stream has nothing to read from any more, and
 * the client no open stream. NULL: there was none. */
void dirty_stream_cut(dirty_stream *s);

#endif
