/* socket_path: where a runtime's socket is, and why it can't be reached. */
#ifndef DIRTY_SOCKET_PATH_H
#define DIRTY_SOCKET_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#include "client/failure.h"

/* The default path (dirty.h says which). *is_private: it lies in a directory of /tmp that
 * must be the caller's own, or anybody could wait there for its calls. Length of the path
 * as by snprintf: it was cut if that is not under cap. */
size_t dirty_socket_path_default(char *out, size_t cap, bool *is_private);

/* Set the address of `path`. 0, or DIRTY_ECONNECTION with the failure told: the
 * path is empty or too long. */
int dirty_socket_path_set(struct sockaddr_un *address, const char *path,
                          dirty_failure *failure);

/* Is the directory of a private path the caller's own and closed to others? True too
 * where there is none. */
bool dirty_socket_path_is_safe(const char *path);

/* Tell why connect(2) to `path` failed with `error`. Returns the code. */
int dirty_socket_path_explain(const char *path, int error, dirty_failure *failure);

#endif
