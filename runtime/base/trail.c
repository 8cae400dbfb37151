#include "base/trail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LINKS_MAX 40 /* the limit of the kernel */

/* How to treat the last name. */
typedef enum last_name { FOLLOWED, NO_LINK, LEFT_OUT } last_name;

/* State of a walk along a path. */
typedef struct walk {
    dirty_trail *t;
    last_name last;
    uid_t too;           /* the extra user who counts as one of us */
    char rest[PATH_MAX]; /* rest of the path */
    unsigned links;
    dirty_trail_fault *fault; /* gets the first fault; NULL: not wanted */
    bool found;
} walk;

static bool is_ours(const walk *w, const struct stat *st) {
    return st->st_uid == 0 || st->st_uid == geteuid() || st->st_uid == w->too;
}

static bool is_shared(const struct stat *dir) {
    return (dir->st_mode & S_IWOTH) || ((dir->st_mode & S_IWGRP) && dir->st_gid != 0);
}

static bool is_movable(const struct stat *dir) {
    return is_shared(dir) && !(dir->st_mode & S_ISVTX);
}

/* Whether nobody else can have put `entry` into `dir`. A directory can't have a second
 * name, whatever its link count says. */
static bool is_trusted(const walk *w, const struct stat *dir, const struct stat *entry) {
    if (!is_ours(w, dir))
        return false;
    return !is_shared(dir) ||
           (is_ours(w, entry) && (S_ISDIR(entry->st_mode) || entry->st_nlink == 1));
}

/* End the walk at a stranger's thing: a directory, or an entry of a shared directory. */
static void end_strange(dirty_trail *t, const struct stat *whose) {
    t->strange = true;
    t->in_theirs = S_ISDIR(whose->st_mode);
    t->uid = whose->st_uid;
    t->gid = whose->st_gid;
}

/* /dev/null: everybody may write to it, and it holds nothing. */
static bool is_null(const struct stat *st) {
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

static void blame(walk *w, int what, int fd, const struct stat *st) {
    char link[40];
    if (w->fault == NULL || w->found)
        return;
    w->found = true;
    w->fault->what = what;
    w->fault->st = *st;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, w->fault->path, sizeof w->fault->path - 1);
    snprintf(w->fault->path + (n > 0 ? n : 0), 2, "%s", n > 0 ? "" : "?");
}

static void leave_directory(dirty_trail *t) {
    if (t->dir_fd >= 0)
        close(t->dir_fd);
    t->dir_fd = -1;
}

static int enter(dirty_trail *t, const char *dir) {
    leave_directory(t);
    t->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return t->dir_fd < 0 ? -errno : 0;
}

/* Take the next name from the rest of the path. Returns 0 or -errno. */
static int next_name(walk *w, char *name) {
    const char *from = w->rest + strspn(w->rest, "/");
    size_t len = strcspn(from, "/");
    if (len == 0)
        return -EISDIR;
    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, from, len);
    name[len] = '\0';
    from += len;
    memmove(w->rest, from, strlen(from) + 1);
    return 0;
}

static bool is_last(const walk *w) {
    return w->rest[strspn(w->rest, "/")] == '\0';
}

/* Record a fault if somebody else can change `entry` of the directory `dir`. */
static void judge(walk *w, const struct stat *dir, int fd, const struct stat *entry) {
    int dir_fd = w->t->dir_fd;
    bool is_file = is_last(w) && !S_ISLNK(entry->st_mode) && !is_null(entry);
    if (!is_ours(w, dir))
        blame(w, DIRTY_TRAIL_OWNER, dir_fd, dir);
    else if (is_movable(dir))
        blame(w, DIRTY_TRAIL_WRITERS, dir_fd, dir);
    else if ((is_file || is_shared(dir)) && !is_ours(w, entry))
        blame(w, DIRTY_TRAIL_OWNER, fd, entry);
    else if (is_shared(dir) && !S_ISDIR(entry->st_mode) && entry->st_nlink != 1)
        blame(w, DIRTY_TRAIL_NAMES, fd, entry);
    else if (is_file && is_shared(entry))
        blame(w, DIRTY_TRAIL_WRITERS, fd, entry);
}

/* Put the target of the link before the rest of the path. Returns 0 or -errno. */
static int follow_link(walk *w, int link_fd) {
    char text[PATH_MAX], joined[2 * PATH_MAX];
    ssize_t n = readlinkat(link_fd, "", text, sizeof text - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    if (++w->links > LINKS_MAX)
        return -ELOOP;
    int len = snprintf(joined, sizeof joined, "%s/%s", text, w->rest);
    if (len >= (int)sizeof w->rest)
        return -ENAMETOOLONG;
    memcpy(w->rest, joined, (size_t)len + 1);
    return text[0] == '/' ? enter(w->t, "/") : 0;
}

static bool is_on_proc(int fd) {
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* Continue with the file `fd` of the trail's last name. Returns 1 to go on, 0 at the end,
 * or -errno. */
static int step(walk *w, int fd, const struct stat *dir) {
    dirty_trail *t = w->t;
    if (fstat(fd, &t->st) < 0)
        return -errno;
    t->exists = true;
    judge(w, dir, fd, &t->st);
    if (!is_trusted(w, dir, &t->st)) {
        end_strange(t, is_ours(w, dir) ? &t->st : dir);
        if (!is_last(w))
            leave_directory(t);
        return 0;
    }
    bool last = is_last(w);
    t->movable = t->movable || is_movable(dir);
    if (last && w->last == NO_LINK && S_ISLNK(t->st.st_mode))
        return -ELOOP;
    t->is_descriptor = last && S_ISLNK(t->st.st_mode) && is_on_proc(fd);
    if (S_ISLNK(t->st.st_mode) && !t->is_descriptor) {
        int rc = follow_link(w, fd);
        return rc < 0 ? rc : 1;
    }
    if (last)
        return 0;
    if (!S_ISDIR(t->st.st_mode))
        return -ENOTDIR;
    leave_directory(t);
    t->dir_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return t->dir_fd < 0 ? -errno : 1;
}

/* End the walk at a name that does not exist or does not matter: only its directory
 * counts. */
static void end_free(walk *w, const struct stat *dir) {
    if (!is_ours(w, dir))
        end_strange(w->t, dir);
    else if (is_movable(dir))
        w->t->movable = true;
}

/* Process the next name. Returns 1 if there are more, 0 at the end, or -errno. */
static int walk_on(walk *w) {
    dirty_trail *t = w->t;
    struct stat dir;
    int rc = next_name(w, t->name);
    if (rc < 0)
        return rc;
    if (fstat(t->dir_fd, &dir) < 0)
        return -errno;
    t->exists = t->is_descriptor = false;
    if (is_last(w) && w->last == LEFT_OUT) {
        end_free(w, &dir);
        return 0;
    }
    int fd = openat(t->dir_fd, t->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && is_last(w)) {
        end_free(w, &dir);
        return 0;
    }
    if (fd < 0)
        return -errno;
    rc = step(w, fd, &dir);
    close(fd);
    return rc;
}

static int run(walk *w, const char *path) {
    size_t len = strlen(path);
    *w->t = (dirty_trail){.dir_fd = -1};
    if (len == 0 || len >= sizeof w->rest)
        return len == 0 ? -ENOENT : -ENAMETOOLONG;
    if (path[len - 1] == '/')
        return -EISDIR;
    memcpy(w->rest, path, len + 1);
    int rc = enter(w->t, path[0] == '/' ? "/" : ".");
    while (rc >= 0 && (rc = walk_on(w)) > 0)
        continue;
    return rc;
}

static int follow(dirty_trail *t, const char *path, last_name last, uid_t too) {
    walk w = {.t = t, .last = last, .too = too};
    return run(&w, path);
}

int dirty_trail_judge(const char *path, dirty_trail_fault *fault) {
    dirty_trail t = {.dir_fd = -1};
    walk w = {.t = &t, .last = FOLLOWED, .too = geteuid(), .fault = fault};
    int rc = run(&w, path);
    leave_directory(&t);
    if (rc == 0 && !t.strange && !t.exists)
        rc = -ENOENT;
    return rc < 0 ? rc : w.found;
}

int dirty_trail_follow(dirty_trail *t, const char *path, uid_t too) {
    return follow(t, path, FOLLOWED, too);
}

int dirty_trail_follow_no_link(dirty_trail *t, const char *path, uid_t too) {
    return follow(t, path, NO_LINK, too);
}

int dirty_trail_follow_directory(dirty_trail *t, const char *path, uid_t too) {
    return follow(t, path, LEFT_OUT, too);
}
