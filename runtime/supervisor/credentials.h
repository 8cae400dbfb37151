/* credentials: the user and groups that arbiter and workers run as if root starts the
 * runtime. */
#ifndef DIRTY_SUPERVISOR_CREDENTIALS_H
#define DIRTY_SUPERVISOR_CREDENTIALS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct dirty_credentials {
    int64_t uid, gid; /* -1: unchanged */
    gid_t *groups;    /* owned; supplementary groups; NULL: only gid */
    size_t group_count;
    char *name, *home; /* owned; for the environment; NULL: the user is not in passwd */
} dirty_credentials;

/* Look up a user and a group; each is a name, a number or NULL. Includes the user's own
 * groups. Returns 0; or -1 with the reason in `why` and empty credentials: no such user,
 * a number without a passwd entry and no group, or not allowed to become that user. */
int dirty_credentials_find(dirty_credentials *c, const char *user, const char *group,
                           char *why, size_t why_size);

/* Take the credentials for good, in this process: groups, gid, uid, and HOME, USER and
 * LOGNAME in the environment. Checks that the old credentials can't be restored. No-op if
 * both ids are -1. Returns 0 or -errno; after an error the credentials are undefined and
 * the process must end. */
int dirty_credentials_take(const dirty_credentials *c);

/* Free what it owns. */
void dirty_credentials_deinit(dirty_credentials *c);

#endif
