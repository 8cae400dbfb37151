/* trail: whose hands are in a path.
 *
 * The names on the way to a file are looked up one by one, links included. A name counts
 * as ours where nobody but root and the user that this process is (its effective id) can
 * have put it there:
 *
 *   - in a directory of one of the two that nobody else may write to: every name;
 *   - in one that others may write to as well (/tmp, or one of a group): a name whose
 *     file belongs to one of the two and has no second name, or a name that is free;
 *   - in anybody else's directory: none.
 *
 * Where others may write and no sticky bit keeps them from it, they may move what is ours
 * away, and something else of ours to its name: the trail says so (`movable`), and what
 * is found once must be used by its descriptor, not looked up again.
 *
 * The first name that is not ours ends the trail: it is a stranger's, and so is all that
 * comes behind it. Nothing is opened but by O_PATH, so nothing waits or has an effect. No
 * memory is allocated: it may be used in a signal handler. */
#ifndef DIRTY_TRAIL_H
#define DIRTY_TRAIL_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

typedef struct dirty_trail {
    bool strange;   /* somebody else has a hand in it: uid and gid say who */
    bool movable;   /* others may move a name on the way, though all of them are ours */
    bool in_theirs; /* the file is in a directory of theirs, not in one that many share */
    uid_t uid;
    gid_t gid;
    int dir_fd; /* O_PATH: where the last name is; -1: the trail ended before */
    char name[NAME_MAX + 1]; /* the last name, links followed */
    bool exists;             /* … is there, as `st` says. No link, but for … */
    bool is_descriptor;      /* … one of /proc/PID/fd, which leads to no other path */
    struct stat st;
} dirty_trail;

/* What lets somebody but root and us change a file, or what its name leads to. */
typedef struct dirty_trail_fault {
    enum { DIRTY_TRAIL_OWNER, DIRTY_TRAIL_WRITERS, DIRTY_TRAIL_NAMES } what;
    struct stat st;      /* of the file or directory that is to blame */
    char path[PATH_MAX]; /* … as /proc has it */
} dirty_trail_fault;

/* Follow `path` as below, and find the first thing that is not ours alone: stricter, as
 * what is found is used by its path later. A directory that others may write to is good
 * only with the sticky bit, and the file itself must be writable by nobody else, but for
 * /dev/null, which holds nothing. 1 with *fault, 0: there is none, -errno. */
int dirty_trail_judge(const char *path, dirty_trail_fault *fault);

/* Follow `path` to its end. `too` counts as one of us; our own id where nobody else does.
 * 0 or -errno. The caller closes t->dir_fd in any case. */
int dirty_trail_follow(dirty_trail *t, const char *path, uid_t too);

/* As dirty_trail_follow, but the last name must be no link of ours either: -ELOOP. */
int dirty_trail_follow_no_link(dirty_trail *t, const char *path, uid_t too);

/* Follow the directories of `path` alone: whether files can be made, renamed and removed
 * there by this name without a stranger's part in it. 0 or -errno, as above; `exists` and
 * `st` say nothing. */
int dirty_trail_follow_directory(dirty_trail *t, const char *path, uid_t too);

#endif
