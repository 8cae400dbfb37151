/* safe_file: files that a process with rights opens, makes and removes by a path where
 * somebody with fewer rights may write: the log, the pidfile, the socket and its lock.
 *
 * Who may write to a directory can put a link there, a FIFO, or a second name of another
 * file. So a path is followed first (base/trail.h), and then
 *
 *   - where it is ours, that is root's or our own all the way, it means what it says:
 *     links are followed, and a FIFO or a device is taken where one makes sense;
 *   - where somebody else has a hand in it, root acts with that user's rights on files,
 *     so it does nothing there that they could not do themselves. The last name must be
 *     no link, and what is opened a regular file with one name that belongs to root, to
 *     us or to them.
 *
 * "They" are who owns the first thing on the way that is not ours; or, where the way is
 * not theirs alone, the user whom the process makes its children (dirty_safe_user).
 * Nothing here waits: files are opened with O_NONBLOCK. All calls but dirty_safe_user may
 * be used in a signal handler, and concern the calling thread alone. */
#ifndef DIRTY_SAFE_FILE_H
#define DIRTY_SAFE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Name the user; groups are copied, and are all that they are in. For root, once, before
 * threads and forks. 0 or -ENOMEM. */
int dirty_safe_user(uid_t uid, gid_t gid, const gid_t *groups, size_t group_count);

/* Whether there is one: others than we are run below us. */
bool dirty_safe_has_user(void);

/* A FIFO, a character device, or a descriptor of our own by its name (/dev/stderr) is
 * good as well, if the path is ours. A FIFO need not be read by anybody. */
#define DIRTY_SAFE_DEVICES 1u
/* A file that is made belongs to the user. */
#define DIRTY_SAFE_GIVE 2u
/* The last name must be no link, even if the path is ours. */
#define DIRTY_SAFE_NO_LINK 4u

/* Open `path`; `flags` as for open(2), O_CREAT and `mode` included, `what` of the bits
 * above. Sets O_CLOEXEC, O_NONBLOCK and O_NOCTTY, the last two where a descriptor of our
 * own is not copied. The descriptor or -errno, or one of the codes below, negative. */
int dirty_safe_open(const char *path, int flags, mode_t mode, unsigned what);
#define DIRTY_SAFE_LINK ELOOP         /* the last name is a link that is not followed */
#define DIRTY_SAFE_NAMES EMLINK       /* the file has a second name */
#define DIRTY_SAFE_KIND EMEDIUMTYPE   /* it is no regular file */
#define DIRTY_SAFE_OWNER EKEYREJECTED /* it belongs to yet another user */
#define DIRTY_SAFE_SWITCH ENOTRECOVERABLE /* root may not act as that user here */

/* What a negative code says, for people. Static text. */
const char *dirty_safe_reason(int rc);

/* Between the two: the rights to make, rename, unlink and bind `path`'s last name, and
 * what lies beside it, in the directory that was found by one walk. The path itself is
 * not to be used: who has a part in it may let it lead elsewhere from call to call. */
typedef struct dirty_safe_scope {
    int dir_fd; /* O_PATH: where the name is */
    char name[NAME_MAX + 1];
    uid_t uid;    /* whose rights these are */
    bool movable; /* the trail's */
    bool switched;
    int death_signal, dumpable;
    int group_count;
    gid_t groups[256];
} dirty_safe_scope;

/* 0, or a negative code as above; then nothing has changed and there is nothing to end.
 */
int dirty_safe_enter(dirty_safe_scope *s, const char *path);
void dirty_safe_leave(dirty_safe_scope *s);

/* Remove `path` if it is the file of that device and inode. 0, also where it is another
 * file or none, or a negative code. */
int dirty_safe_unlink(const char *path, dev_t dev, ino_t ino);

#endif
