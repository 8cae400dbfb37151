/* stream: a call whose result comes in pieces. dirty.h tells what it does. */
#ifndef DIRTY_CLIENT_STREAM_H
#define DIRTY_CLIENT_STREAM_H

#include "dirty.h"

/* The client ends before its stream: the stream has nothing to read from any more. */
void dirty_stream_orphan(dirty_stream *s);

#endif
