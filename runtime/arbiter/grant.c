#include "arbiter/grant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "arbiter/listener.h"

/* A list of the failed changes. */
typedef struct faults {
    char *out;
    size_t len, size;
} faults;

static void add_fault(faults *f, const char *what) {
    int saved = errno;
    if (f->len >= f->size)
        return;
    int n = snprintf(f->out + f->len, f->size - f->len, "%s%s can't be changed: %s",
                     f->len > 0 ? "; " : "", what, strerror(saved));
    f->len += n > 0 ? (size_t)n : 0;
}

/* Change the file, unless it belongs to a service manager. Change the owner first: the
 * new mode may grant access that is meant for the new
 * owner's group. */
static void change_file(arbiter *a, int fd, const dirty_arbiter_options *o, faults *f) {
    char path[40];
    struct stat st;
    if (fstat(fd, &st) < 0) {
        add_fault(f, "the socket's file");
        return;
    }
    if (!S_ISSOCK(st.st_mode)) {
        errno = ENOTSOCK;
        add_fault(f, "the socket's file");
        return;
    }
    if (a->boot->socket_lent)
        return;
    if (o->socket_uid >= 0 && st.st_uid != (uid_t)o->socket_uid &&
        fchownat(fd, "", (uid_t)o->socket_uid, (gid_t)-1, AT_EMPTY_PATH) < 0)
        add_fault(f, "socket_user");
    if (o->socket_gid >= 0 && st.st_gid != (gid_t)o->socket_gid &&
        fchownat(fd, "", (uid_t)-1, (gid_t)o->socket_gid, AT_EMPTY_PATH) < 0)
        add_fault(f, "socket_group");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if ((st.st_mode & 0777) != o->socket_mode && chmod(path, o->socket_mode) < 0)
        add_fault(f, "socket_mode");
    if (fstat(fd, &st) == 0)
        listener_set_owner(a, st.st_uid);
}

int grant_apply(arbiter *a, const dirty_arbiter_options *o, char *why, size_t why_size) {
    faults f = {.out = why, .size = why_size};
    why[0] = '\0';
    errno = 0;
    change_file(a, a->boot->socket_fd > 0 ? a->boot->socket_fd : listener_file(a), o, &f);
    if (listener_set_backlog(a, o->backlog) < 0)
        add_fault(&f, "backlog");
    return f.len > 0 ? -1 : 0;
}
