/* parked: a descriptor that is kept where no process forked meanwhile has a copy of it:
 * under way between two sockets. A child that goes on for long, without exec, would hold
 * it open otherwise. */
#ifndef DIRTY_CLI_FDSTASH_H
#define DIRTY_CLI_FDSTASH_H

typedef struct fdstash {
    int fd;      /* -1: it is under way */
    int ends[2]; /* owned while it is: where it comes out, where it went in */
} fdstash;

/* Park `fd`, which is closed; where that is not possible it stays open. */
void fdstash_put(fdstash *p, int fd);

/* The descriptor, of another number maybe, or -errno: it is lost. After fdstash_put. */
int fdstash_take(fdstash *p);

#endif
