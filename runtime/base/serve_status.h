/* serve_status: the exit statuses of `dirty serve`, given by the arbiter or, where it has
 * to speak for it, by the supervisor. */
#ifndef DIRTY_SERVE_STATUS_H
#define DIRTY_SERVE_STATUS_H

typedef enum dirty_serve_status {
    DIRTY_SERVE_OK = 0,      /* stopped in good order */
    DIRTY_SERVE_USAGE = 2,   /* wrong flag or configuration: said by the command line */
    DIRTY_SERVE_SOCKET = 3,  /* the socket can't be had: taken, not allowed, too long */
    DIRTY_SERVE_BOOT = 4,    /* an app failed to load or init at first start */
    DIRTY_SERVE_INTERNAL = 5 /* memory, descriptors, fork */
} dirty_serve_status;

#endif
