/* exit_status: the exit statuses of `dirty serve`. The arbiter sets them; the supervisor
 * does if the arbiter can't. */
#ifndef DIRTY_BASE_EXIT_STATUS_H
#define DIRTY_BASE_EXIT_STATUS_H

typedef enum dirty_exit_status {
    DIRTY_EXIT_OK = 0,      /* stopped normally */
    DIRTY_EXIT_USAGE = 2,   /* wrong flag or configuration; the command line reports it */
    DIRTY_EXIT_SOCKET = 3,  /* can't listen: the path is taken, not allowed or too long */
    DIRTY_EXIT_BOOT = 4,    /* an app failed to load or init at first start */
    DIRTY_EXIT_INTERNAL = 5 /* lack of memory or descriptors, or fork failed */
} dirty_exit_status;

#endif
