/* serve_status: the exit statuses of `dirty serve`, given by the arbiter or, where it has
 * to speak for it, by the supervisor. */
#ifndef DIRTY_BASE_EXIT_STATUS_H
#define DIRTY_BASE_EXIT_STATUS_H

typedef enum dirty_exit_status {
    DIRTY_EXIT_OK = 0,      /* stopped in good order */
    DIRTY_EXIT_USAGE = 2,   /* wrong flag or configuration: said by the command line */
    DIRTY_EXIT_SOCKET = 3,  /* the socket can't be had: taken, not allowed, too long */
    DIRTY_EXIT_BOOT = 4,    /* an app failed to load or init at first start */
    DIRTY_EXIT_INTERNAL = 5 /* memory, descriptors, fork */
} dirty_exit_status;

#endif
