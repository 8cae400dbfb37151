/* inheritance: the listening socket that this program was started with: by a supervisor
 * whose place it shall take (base/handover.h), or by a service manager (LISTEN_FDS of
 * sd_listen_fds(3)).
 *
 * There is at most one, so this is global state of the process, like the log. */
#ifndef DIRTY_SUPERVISOR_INHERITANCE_H
#define DIRTY_SUPERVISOR_INHERITANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/endpoint.h"

typedef struct dirty_inheritance {
    int listen_fd;   /* -1: none */
    int file_fd;     /* -1: unknown */
    int lock_fd;     /* -1: none */
    bool succeeds;   /* a supervisor serves at the socket until we take over */
    bool lent;       /* a service manager owns the socket's files */
    uint32_t number; /* of the upgrade */
    char from[32];   /* version of that supervisor */
} dirty_inheritance;

/* Read the variables and remove them from the environment. Says HELLO to a supervisor.
 * Call it in main, before the spawner's fixed descriptor is looked at. */
void dirty_inheritance_open(void);

const dirty_inheritance *dirty_inheritance_get(void);

/* Whether a socket was passed, even one that can't be used. */
bool dirty_inheritance_is_there(void);

/* Open the endpoint with what was inherited. Returns 0, or a negative code after logging
 * the reason. */
int dirty_inheritance_claim(dirty_endpoint *e, const dirty_endpoint_options *o);

#endif
