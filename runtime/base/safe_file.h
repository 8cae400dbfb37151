/* safe_file: opens, creates and removes files in a privileged process, by a path where a
 * less privileged user may write: the log, the pidfile, the socket and its lock.
 *
 * A user who can write to a directory can put there a link, a FIFO, or a hard link to
 * another file. So the path is followed first (base/trail.h). Then:
 *
 *   - If the path is ours, that is, only root and we can change it, it is used as it is.
 *     Links are followed. A FIFO or a device is accepted where one makes sense.
 *   - If somebody else can change it, root uses that user's credentials for files. So it
 *     does nothing there that this user could not do. The last name must be no link. An
 *     opened file must be regular, have one name, and belong to root, to us or to them.
 *
 * "They" are the owner of the first thing on the path that is not ours. If others can
 * change the path too, they are the user that the process runs its children as
 * (dirty_safe_user). Nothing here blocks: files are opened with O_NONBLOCK. All calls
 * except dirty_safe_user are safe in a signal handler and affect only the calling
 * thread. */
#ifndef DIRTY_SAFE_FILE_H
#define DIRTY_SAFE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Set the user that children run as. `groups` is copied and must be the complete list.
 * Only for root; call it once, before threads and forks. Returns 0 or -ENOMEM. */
int dirty_safe_user(uid_t uid, gid_t gid, const gid_t *groups, size_t group_count);

/* Whether children run as another user than this process. */
bool dirty_safe_has_user(void);

/* Also accept a FIFO, a character device, or a name of one of our own descriptors
 * (/dev/stderr), if the path is ours. A FIFO needs no reader. */
#define DIRTY_SAFE_DEVICES 1u
/* A new file belongs to the user of dirty_safe_user. */
#define DIRTY_SAFE_GIVE 2u
/* The last name must be no link, even if the path is ours. */
#define DIRTY_SAFE_NO_LINK 4u

/* Open `path`. `flags` and `mode` are those of open(2), O_CREAT included; `what` is a set
 * of the bits above. Adds O_CLOEXEC. Adds O_NONBLOCK and O_NOCTTY unless it copies a
 * descriptor of our own. Returns the descriptor, -errno, or one of the codes below,
 * negative. */
int dirty_safe_open(const char *path, int flags, mode_t mode, unsigned what);
#define DIRTY_SAFE_LINK ELOOP       /* the last name is a link and may not be followed */
#define DIRTY_SAFE_NAMES EMLINK     /* the file has a second name (hard link) */
#define DIRTY_SAFE_KIND EMEDIUMTYPE /* not a regular file */
#define DIRTY_SAFE_OWNER EKEYREJECTED     /* the file belongs to a third user */
#define DIRTY_SAFE_SWITCH ENOTRECOVERABLE /* root can't act as that user */

/* Text for a negative code, for people. Static. */
const char *dirty_safe_reason(int rc);

/* State between dirty_safe_enter and dirty_safe_leave. In between, the thread has the
 * credentials to create, rename, unlink and bind the last name of `path`, and names
 * beside it, relative to dir_fd. Do not use the path itself: whoever can change it may
 * lead it elsewhere between two calls. */
typedef struct dirty_safe_scope {
    int dir_fd; /* O_PATH: the directory of the name */
    char name[NAME_MAX + 1];
    uid_t uid;    /* whose credentials are used */
    bool movable; /* as in dirty_trail */
    bool switched;
    int death_signal, dumpable;
    int group_count;
    gid_t groups[256];
} dirty_safe_scope;

/* Returns 0, or a negative code as above. On error nothing has changed, and there is
 * nothing to leave. */
int dirty_safe_enter(dirty_safe_scope *s, const char *path);
void dirty_safe_leave(dirty_safe_scope *s);

/* Remove `path` if it is the file of that device and inode. Returns 0, also if it is
 * another file or there is none, or a negative code. */
int dirty_safe_unlink(const char *path, dev_t dev, ino_t ino);

#endif
