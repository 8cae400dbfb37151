/* loaded: which files the Lua code of apps and configuration was loaded from.
 *
 * Only with `dirty serve --dev`. Whoever loads a file writes its path to a pipe: the
 * process that reads the configuration, a probe, a lane. The arbiter reads the pipe and
 * watches the files (arbiter/edits.h). Without dirty_loaded_open nothing is written. */
#ifndef DIRTY_LOADED_H
#define DIRTY_LOADED_H

#include <stddef.h>

/* Make the pipe. Call it before any fork. Returns 0 or -errno. */
int dirty_loaded_open(void);

/* The end to write to, which a child must keep open; -1: there is no pipe. */
int dirty_loaded_end(void);

/* Read paths, each ended by a newline. Returns their bytes, or -1 if there are none. */
long dirty_loaded_read(char *room, size_t size);

/* The end to read from; -1: there is no pipe. */
int dirty_loaded_fd(void);

/* Write a path, made absolute. A path that does not fit into the pipe, or has a newline,
 * is dropped: its file is not watched. */
void dirty_loaded_tell(const char *path);

#endif
