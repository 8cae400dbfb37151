/* socket_path: finds a runtime's socket, and explains why it can't be reached. */
#ifndef DIRTY_SOCKET_PATH_H
#define DIRTY_SOCKET_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#include "client/failure.h"

/* Write the default path (see dirty.h). *is_private: its directory is in /tmp and must
 * belong to the caller, or anybody could listen there for its calls. Returns the path's
 * length as snprintf does: it was cut if that is not less than `cap`. */
size_t dirty_socket_path_default(char *out, size_t cap, bool *is_private);

/* Set the address to `path`. Returns 0, or DIRTY_ECONNECTION with the failure set if the
 * path is empty or too long. */
int dirty_socket_path_set(struct sockaddr_un *address, const char *path,
                          dirty_failure *failure);

/* Whether the directory of a private path belongs to the caller and is closed to others.
 * Also true if the directory does not exist. */
bool dirty_socket_path_is_safe(const char *path);

/* Set the failure for a connect(2) to `path` that failed with `error`. Returns the
 * code. */
int dirty_socket_path_explain(const char *path, int error, dirty_failure *failure);

#endif
