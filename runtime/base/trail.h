/* trail: follows a path and tells who can change what it leads to.
 *
 * The names on the path are looked up one by one, links included. A name is ours if only
 * root and the user of this process (its effective id) can have put it there:
 *
 *   - in a directory of one of the two that nobody else may write to: every name;
 *   - in one that others may write to as well (/tmp, or one of a group): a name whose
 *     file belongs to one of the two and has no second name, or a name that is free;
 *   - in anybody else's directory: none.
 *
 * If others may write to a directory without a sticky bit, they may move our file away
 * and another file of ours to its name. The trail reports that as `movable`. Use the file
 * by the descriptor that was found, and do not look it up again.
 *
 * The first name that is not ours ends the trail, because a stranger controls it and all
 * names after it. Files are opened with O_PATH only, so nothing blocks or has an effect.
 * No memory is allocated, so it is safe in a signal handler. */
#ifndef DIRTY_TRAIL_H
#define DIRTY_TRAIL_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

typedef struct dirty_trail {
    bool strange;   /* somebody else can change the path: `uid` and `gid` */
    bool movable;   /* all names are ours, but others may move one */
    bool in_theirs; /* the file is in their directory, not in one that many share */
    uid_t uid;
    gid_t gid;
    int dir_fd; /* O_PATH: directory of the last name; -1: the trail ended before it */
    char name[NAME_MAX + 1]; /* the last name, links followed */
    bool exists;        /* the name exists and `st` describes it; no link, except if … */
    bool is_descriptor; /* … it is one in /proc/PID/fd, which leads to no other path */
    struct stat st;
} dirty_trail;

/* Why somebody but root and us can change a file, or what its name leads to. */
typedef struct dirty_trail_fault {
    enum { DIRTY_TRAIL_OWNER, DIRTY_TRAIL_WRITERS, DIRTY_TRAIL_NAMES } what;
    struct stat st;      /* of the file or directory with the fault */
    char path[PATH_MAX]; /* its path, from /proc */
} dirty_trail_fault;

/* Follow `path` and find the first thing that others can change. Stricter than the calls
 * below, because the path is used again later. A directory that others may write to must
 * have the sticky bit. The file itself must be writable by nobody else, except /dev/null,
 * which holds nothing. Returns 1 with *fault set, 0 if there is none, or -errno. */
int dirty_trail_judge(const char *path, dirty_trail_fault *fault);

/* Follow `path` to its end. The user `too` counts as one of us; pass our own id for none.
 * Returns 0 or -errno. The caller closes t->dir_fd in any case. */
int dirty_trail_follow(dirty_trail *t, const char *path, uid_t too);

/* As dirty_trail_follow, but fails with -ELOOP if the last name is a link, even one of
 * ours. */
int dirty_trail_follow_no_link(dirty_trail *t, const char *path, uid_t too);

/* Follow only the directories of `path`. Tells whether a file of that name can be
 * created, renamed and removed without a stranger being able to interfere. Returns 0 or
 * -errno, as above; `exists` and `st` are not set. */
int dirty_trail_follow_directory(dirty_trail *t, const char *path, uid_t too);

#endif
