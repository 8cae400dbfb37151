/* rights: the user and groups that the arbiter and the workers run as, where the runtime
 * was started by root. */
#ifndef DIRTY_SUPERVISOR_CREDENTIALS_H
#define DIRTY_SUPERVISOR_CREDENTIALS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct dirty_credentials {
    int64_t uid, gid; /* -1: stay as we are */
    gid_t *groups;    /* owned: supplementary groups; NULL: gid alone */
    size_t group_count;
    char *name, *home; /* owned: for the environment; NULL: no such user in passwd */
} dirty_credentials;

/* Look a user and a group up, each a name, a number or NULL. The user's own groups come
 * with it. 0, or -1 with what is wrong in `why` (the rights are empty then): no such
 * user, a number without an entry and no group, or not allowed to become it. */
int dirty_credentials_find(dirty_credentials *r, const char *user, const char *group,
                           char *why, size_t why_size);

/* Become them for good, in this process: groups, gid, uid, and HOME, USER and LOGNAME of
 * the environment. Checks that the old rights can't be had back. Does nothing where both
 * ids are -1. 0 or -errno: the process must end then, its rights are undefined. */
int dirty_credentials_take(const dirty_credentials *r);

/* Free what it owns. */
void dirty_credentials_deinit(dirty_credentials *r);

#endif
