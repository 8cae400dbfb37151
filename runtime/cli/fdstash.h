/* fdstash: keeps a descriptor where a forked process gets no copy of it, in a message
 * between two sockets. Otherwise a child that lives long without exec would hold it open.
 */
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
