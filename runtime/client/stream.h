/* stream: a call whose result comes in chunks. See dirty.h. */
#ifndef DIRTY_CLIENT_STREAM_H
#define DIRTY_CLIENT_STREAM_H

#include "dirty.h"

/* The client closes its connection: the open stream can't read any more, and the client
 * has no open stream. NULL: no-op. */
void dirty_stream_cut(dirty_stream *s);

#endif
